"""`decode` reads what `encode` writes."""

import numpy as np
import pytest

from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding

# Largest error as a share of the largest magnitude.
PRECISION = {
    Encoding.F32: 0,
    Encoding.F16: 2**-11,
    Encoding.BF16: 2**-8,
    Encoding.Q4_0: 0.13,
    Encoding.Q8_0: 0.005,
    Encoding.Q6_K: 0.04,
}


@pytest.mark.parametrize("encoding", PRECISION)
def test_values_come_back_within_the_precision_of_the_encoding(encoding: Encoding) -> None:
    values = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32)
    tensor = encode("w", values, encoding)
    assert tensor.data.size == encoding.data_bytes(values.shape)
    assert np.abs(decode(tensor) - values).max() <= PRECISION[encoding] * np.abs(values).max()


def test_bf16_rounds_to_nearest_even_and_keeps_nan() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, np.inf, np.nan], np.float32)
    got = decode(encode("w", values, Encoding.BF16))
    np.testing.assert_array_equal(got, np.array([1.0, 1.0, 1 + 2**-6, -2.5, np.inf, np.nan], np.float32))
