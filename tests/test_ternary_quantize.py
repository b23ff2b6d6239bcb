from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sterna.ternary import (
    absmax,
    absmean,
    dequantize_q4_0,
    dequantize_q6_k,
    dequantize_q8_0,
    quantize_q4_0,
    quantize_q6_k,
    quantize_q8_0,
    ternary_scale,
)

FLOATS = st.floats(-1e4, 1e4, width=32)
MATRICES = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=FLOATS)


@given(MATRICES)
def test_absmean_rounds_by_the_mean_magnitude(weight: np.ndarray) -> None:
    codes, scale = absmean(weight)
    assert codes.dtype == np.int8 and set(np.unique(codes)) <= {-1, 0, 1}
    assert scale == pytest.approx(max(np.abs(weight.astype(np.float64)).mean(), 1e-5), rel=1e-6)
    ratio = np.abs(weight.astype(np.float64)) / scale
    assert np.all(codes[ratio > 0.5001] == np.sign(weight[ratio > 0.5001]))
    assert np.all(codes[ratio < 0.4999] == 0)


@given(MATRICES)
def test_absmax_gives_each_row_its_own_scale(x: np.ndarray) -> None:
    codes, scale = absmax(x)
    assert codes.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (len(x), 1)
    largest = np.abs(x).max(axis=1)
    assert np.all(np.abs(codes).max(axis=1)[largest > 1e-5] == 127)
    assert np.all(np.abs(codes / scale - x) <= 0.5001 / scale)
    for row in range(len(x)):
        alone, _ = absmax(x[row])
        assert np.array_equal(alone, codes[row])


def test_zeros_quantise_to_zeros() -> None:
    assert absmean(np.zeros((2, 3)))[1] == pytest.approx(1e-5)
    assert not absmean(np.zeros((2, 3)))[0].any() and not absmax(np.zeros((2, 3)))[0].any()


def test_matrix_that_is_ternary_already_is_recognised() -> None:
    codes = np.random.default_rng(0).integers(-1, 2, (80, 80))
    assert ternary_scale(codes * np.float32(0.3)) == np.float32(0.3)
    assert ternary_scale(np.zeros((4, 4))) is None
    spoiled = codes * np.float32(0.3)
    spoiled[-1, -1] = 0.1
    assert ternary_scale(spoiled) is None


@given(arrays(np.float32, 256, elements=FLOATS))
def test_q8_0_error_is_half_a_step(weight: np.ndarray) -> None:
    packed = quantize_q8_0(weight)
    assert packed.dtype == np.uint8 and packed.size == 8 * 34
    largest = np.repeat(np.abs(weight.reshape(-1, 32)).max(axis=1), 32)
    # Half a step, and 127 times the float16 rounding of the step: relative, and by the smallest subnormal.
    assert np.all(np.abs(dequantize_q8_0(packed) - weight) <= largest * (0.5 / 127 + 1e-3) + 127 * 6e-8)


@given(arrays(np.float32, 512, elements=FLOATS))
def test_q6_k_error_is_bounded_by_its_steps(weight: np.ndarray) -> None:
    packed = quantize_q6_k(weight)
    assert packed.dtype == np.uint8 and packed.size == 2 * 210
    group = np.repeat(np.abs(weight.reshape(-1, 16)).max(axis=1), 16)
    block = np.repeat(np.abs(weight.reshape(-1, 256)).max(axis=1), 256)
    # Two steps of the group (its ends may lie that far outside the codes), and the int8 rounding of the group's scale.
    bound = group / 32 * 2.1 + block / 127 * 0.6 + 127 * 32 * 6e-8
    assert np.all(np.abs(dequantize_q6_k(packed) - weight) <= bound)


@given(arrays(np.float32, 64, elements=FLOATS))
def test_q4_0_error_is_bounded_by_its_steps(weight: np.ndarray) -> None:
    packed = quantize_q4_0(weight)
    assert packed.dtype == np.uint8 and packed.size == 2 * 18
    group = np.repeat(np.abs(weight.reshape(-1, 32)).max(axis=1), 32)
    assert np.all(np.abs(dequantize_q4_0(packed) - weight) <= group / 8 * 1.4 + 8 * 6e-8)


@pytest.mark.parametrize(("quantize", "dequantize", "plain"), [
    (quantize_q4_0, dequantize_q4_0, 0.0861), (quantize_q6_k, dequantize_q6_k, 0.0188)
])  # fmt: skip
def test_searched_scales_lower_the_error_of_plain_rounding(quantize: Any, dequantize: Any, plain: float) -> None:
    weight = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
    error = np.linalg.norm(dequantize(quantize(weight)) - weight) / np.linalg.norm(weight)
    assert 0.8 * plain < error < 0.96 * plain  # plain: measured, with the value of largest magnitude at -8 or -32


def test_q4_0_keeps_what_its_codes_can_say() -> None:
    codes = np.concatenate([np.arange(-8, 8), np.arange(-8, 8)[::-1]])
    for scale in (0.25, -0.25, 2.0**-20, 2.0**10):
        weight = (codes * scale).astype(np.float32)
        assert np.array_equal(dequantize_q4_0(quantize_q4_0(weight)), weight)
    assert not dequantize_q4_0(quantize_q4_0(np.zeros(32))).any()


def test_q4_0_blocks_decode_weight_by_weight_as_ggml_lays_them_out() -> None:
    data = np.random.default_rng(4).integers(0, 256, 36).astype(np.uint8)
    data[:2] = data[18:20] = np.frombuffer(np.float16(-0.5).tobytes(), np.uint8)
    values = dequantize_q4_0(data)
    for i in range(64):
        byte = int(data[18 * (i // 32) + 2 + i % 16])
        assert values[i] == -0.5 * ((byte >> 4 if i % 32 >= 16 else byte & 15) - 8)


def test_q6_k_blocks_decode_weight_by_weight_as_ggml_lays_them_out() -> None:
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, 210).astype(np.uint8)
    data[208:] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    values = dequantize_q6_k(data)
    scales = data[192:208].view(np.int8)
    for i in range(256):
        half, k, j = i // 128, i % 128 // 32, i % 32
        low = data[64 * half + 32 * (k % 2) + j] >> (4 * (k // 2)) & 15
        high = data[128 + 32 * half + j] >> (2 * k) & 3
        expected = np.float32(np.float16(0.01)) * int(scales[i // 16]) * (int(low | high << 4) - 32)
        assert values[i] == pytest.approx(expected, rel=1e-6)
