"""Encoders that weigh squared errors by the importance of columns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding

GGML = {
    Encoding.Q4_0: (0.088209, 0.098056),
    Encoding.Q4_K: (0.070461, 0.077661),
    Encoding.Q5_K: (0.036745, 0.039475),
    Encoding.Q6_K: (0.017899, 0.019858),
    Encoding.IQ4_NL: (0.077082, 0.084010),
}
"""Relative weighted errors of `ggml_quantize_chunk` (llama-cpp-python 0.3.36) on `case`: with its importance, and
without."""


def case() -> tuple[np.ndarray, np.ndarray]:
    """Weights [16, 512] with heavy tails and the importance of their columns."""
    rng = np.random.default_rng(5)
    weights = 0.02 * rng.standard_normal((16, 512)) * np.exp(0.3 * rng.standard_normal((16, 512)))
    return weights.astype(np.float32), np.exp(rng.standard_normal(512)).astype(np.float32)


def error(weights: np.ndarray, importance: np.ndarray, encoding: Encoding, used: np.ndarray | None) -> float:
    """The root of the weighted squared error, as a share of the weighted square."""
    difference = weights - decode(encode("w", weights, encoding, used))
    return float(np.sqrt((importance * difference**2).sum() / (importance * weights**2).sum()))


@pytest.mark.parametrize("encoding", GGML)
def test_errors_are_no_larger_than_llama_cpps(encoding: Encoding) -> None:
    weights, importance = case()
    weighted, plain = GGML[encoding]
    assert error(weights, importance, encoding, importance) < weighted
    assert error(weights, np.ones(512, np.float32), encoding, None) < plain


@pytest.mark.parametrize("encoding", GGML)
def test_columns_without_importance_give_way_to_the_others(encoding: Encoding) -> None:
    weights, _ = case()
    weights[:, ::8] *= 30
    importance = np.ones(512, np.float32)
    importance[::8] = 0
    given = error(weights, importance, encoding, importance)
    assert given < 0.2
    assert error(weights, importance, encoding, None) > 3 * given
    nowhere = encode("w", weights, encoding, np.zeros(512, np.float32))
    assert np.array_equal(nowhere.data, encode("w", weights, encoding, np.ones(512, np.float32)).data)


@pytest.mark.parametrize("encoding", [Encoding.Q4_0, Encoding.IQ4_NL])
def test_what_a_format_holds_is_encoded_without_loss(encoding: Encoding) -> None:
    weights, importance = case()
    held = encode("w", weights, encoding, importance)
    assert np.array_equal(decode(encode("w", decode(held), encoding, importance)), decode(held))


finite = st.floats(-(2**60), 2**60, width=32)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(list(GGML)),
    arrays(np.float32, (2, 256), elements=finite | st.just(0.0)),
    arrays(np.float32, 256, elements=st.floats(0, 2**60, width=32)),
)
def test_any_numbers_become_blocks_of_finite_ones(
    encoding: Encoding, weights: np.ndarray, importance: np.ndarray
) -> None:
    tensor = encode("w", weights, encoding, importance)
    assert tensor.data.size == encoding.data_bytes(weights.shape)
    values = decode(tensor)
    assert np.isfinite(values).all()
    assert not values[(weights == 0).all(axis=1)].any()
