"""Block formats that Sterna reads: against the formats' definitions weight by weight, and against PyPI's gguf."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.ternary import pack_ternary

from .helpers import random_blocks

f32 = np.float32


def half(data: bytes, at: int) -> np.float32:
    return f32(np.frombuffer(data, "<f2", 1, at)[0])


def nibble(data: bytes, at: int, i: int) -> int:
    """The code of weight i of 32, in blocks whose low nibbles come first."""
    return data[at + i % 16] >> 4 * (i // 16) & 15


def q4_1(b: bytes, i: int) -> np.float32:
    return half(b, 0) * f32(nibble(b, 4, i)) + half(b, 2)


def q5_0(b: bytes, i: int) -> np.float32:
    return half(b, 0) * f32((nibble(b, 6, i) | (b[2 + i // 8] >> i % 8 & 1) << 4) - 16)


def q5_1(b: bytes, i: int) -> np.float32:
    return half(b, 0) * f32(nibble(b, 8, i) | (b[4 + i // 8] >> i % 8 & 1) << 4) + half(b, 2)


def q2_k(b: bytes, i: int) -> np.float32:
    scale = b[i // 16]
    q = b[16 + 32 * (i // 128) + i % 32] >> 2 * (i % 128 // 32) & 3
    return half(b, 80) * f32(scale & 15) * f32(q) - half(b, 82) * f32(scale >> 4)


def q3_k(b: bytes, i: int) -> np.float32:
    group = i // 16
    low = b[96 + group % 8] >> 4 * (group // 8) & 15
    scale = (low | (b[104 + group % 4] >> 2 * (group // 4) & 3) << 4) - 32
    q = b[32 + 32 * (i // 128) + i % 32] >> 2 * (i % 128 // 32) & 3
    third = b[i % 32] >> (i // 32) & 1
    return half(b, 108) * f32(scale) * f32(q - (0 if third else 4))


def six_bits(b: bytes, group: int) -> tuple[int, int]:
    scales = b[4:16]
    if group < 4:
        return scales[group] & 63, scales[group + 4] & 63
    low = scales[group + 4]
    return low & 15 | scales[group - 4] >> 6 << 4, low >> 4 | scales[group] >> 6 << 4


def q4_k(b: bytes, i: int, fifth: int = 0, at: int = 16) -> np.float32:
    scale, least = six_bits(b, i // 32)
    q = b[at + 32 * (i // 64) + i % 32] >> 4 * (i // 32 % 2) & 15 | fifth << 4
    return half(b, 0) * f32(scale) * f32(q) - half(b, 2) * f32(least)


def q5_k(b: bytes, i: int) -> np.float32:
    return q4_k(b, i, b[16 + i % 32] >> (i // 32) & 1, 48)


def iq4_nl(b: bytes, i: int) -> np.float32:
    values = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
    return half(b, 0) * f32(values[nibble(b, 2, i)])


BY_DEFINITION: dict[Encoding, Callable[[bytes, int], np.float32]] = {
    Encoding.Q4_1: q4_1,
    Encoding.Q5_0: q5_0,
    Encoding.Q5_1: q5_1,
    Encoding.Q2_K: q2_k,
    Encoding.Q3_K: q3_k,
    Encoding.Q4_K: q4_k,
    Encoding.Q5_K: q5_k,
    Encoding.IQ4_NL: iq4_nl,
}


@pytest.mark.parametrize("encoding", BY_DEFINITION)
def test_weights_are_what_the_format_says(encoding: Encoding) -> None:
    tensor = random_blocks(encoding)
    weights, size = encoding.block, encoding.block_bytes
    expected = [
        BY_DEFINITION[encoding](tensor.data[at : at + size].tobytes(), i)
        for at in range(0, tensor.data.size, size)
        for i in range(weights)
    ]
    assert np.array_equal(decode(tensor).reshape(-1), np.array(expected, np.float32))


@pytest.mark.parametrize(
    "encoding", [*BY_DEFINITION, Encoding.Q8_0, Encoding.Q6_K, Encoding.BF16, Encoding.TQ1_0, Encoding.TQ2_0]
)
def test_pypi_gguf_reads_the_same_weights(encoding: Encoding) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    tensor = random_blocks(encoding)
    if encoding is Encoding.TQ2_0:  # the code 3 is no weight
        tensor.data.reshape(-1, 66)[:, :64] &= 0b10_10_10_10
    kind = gguf.GGMLQuantizationType[encoding.name]
    expected = gguf.dequantize(tensor.data.reshape(3, -1), kind)
    np.testing.assert_allclose(decode(tensor), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("encoding", [Encoding.BF16, Encoding.TQ1_0, Encoding.TQ2_0])
def test_pypi_gguf_writes_the_same_bytes(encoding: Encoding) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    rng = np.random.default_rng(2)
    if encoding.is_ternary:
        codes = rng.integers(-1, 2, (4, 512)).astype(np.int8)
        codes[0, :256] = 0
        values, tensor = codes * np.float32(0.03), pack_ternary("w", codes, float(np.float32(0.03)), encoding)[0]
    else:
        values = rng.standard_normal((4, 512)).astype(np.float32)
        tensor = encode("w", values, encoding)
    expected = gguf.quantize(values, gguf.GGMLQuantizationType[encoding.name])
    assert np.array_equal(tensor.data, expected.reshape(-1).view(np.uint8))
