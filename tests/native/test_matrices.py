"""Kernels of matrices, in every build, against numpy: integers exactly, floats to 1e-5 and to the same bits in all
builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.ternary.blocks import (
    dequantize_q4_0,
    dequantize_q6_k,
    dequantize_q8_0,
    quantize_q4_0,
    quantize_q6_k,
    quantize_q8_0,
)
from sterna.ternary.i2s import pack_i2s
from sterna.ternary.int4 import INT4

from ..helpers import block_scales_at, random_blocks
from .bits import ENCODINGS, assert_same_bits, floats
from .probe import Probe

INT15 = {
    "q4_0": (32, 18, 0, 0x00, dequantize_q4_0),
    "q8_0": (32, 34, 0, 0x80, dequantize_q8_0),
    "q6_k": (256, 210, 208, 0xFF, dequantize_q6_k),
}
"""Values and bytes of a block, the offset of its scale, the byte of its largest codes, and the decoding function."""


@pytest.mark.parametrize("cols", [128, 256, 1024, 1152, 2560, 6912])
@pytest.mark.parametrize("kind", ["random", "all -1", "all +1", "all 0"])
@pytest.mark.parametrize(
    "operation, n_tokens",
    [
        ("ternary_dot", 6),
        ("ternary_dot", 64),
        ("ternary_panel_dot", 3),
        ("ternary_panel_dot", 21),
        ("ternary_panel_dot", 64),
        ("ternary_panel_dot", 150),
    ],
    ids=[
        "tiles",
        "lookups",
        "few tokens of panels",
        "many tokens of panels",
        "lookups of panels",
        "more than a pass of panels",
    ],
)
def test_ternary_dot_is_exact(probe: Probe, cols: int, kind: str, operation: str, n_tokens: int) -> None:
    rng = np.random.default_rng(cols)
    n_rows = 45
    codes = {"all -1": -1, "all +1": 1, "all 0": 0}.get(kind)
    w = rng.integers(-1, 2, (n_rows, cols)) if codes is None else np.full((n_rows, cols), codes)
    x = rng.integers(-128, 128, (n_tokens, cols))
    x[1], x[2] = 127, -128
    (dots,) = probe.call(operation, n_rows, n_tokens, cols, arrays=(pack_i2s(w.astype(np.int8)), x.astype(np.int8)))
    assert np.array_equal(np.frombuffer(dots, np.float32).reshape(n_tokens, n_rows), x @ w.T)


@pytest.mark.parametrize("int15", [False, True], ids=["ternary", "int15"])
def test_random_rows_are_equal_to_the_bit(probe: Probe, int15: bool) -> None:
    """Many shapes, strides and extremes, compared in the probe: over a million ternary rows in all builds together."""
    n_rows = {"native": 300_000}.get(probe.build, 10_000) // (20 if int15 else 1)
    (done,) = probe.call("random_rows", int(int15), n_rows, 1)
    assert np.frombuffer(done, np.uint64)[0] >= n_rows


def test_decode_matches_the_formats(probe: Probe) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal(1024).astype(np.float32)
    codes = rng.integers(-1, 2, (8, 128)).astype(np.int8)
    q4_0, q8_0, q6_k = quantize_q4_0(values), quantize_q8_0(values), quantize_q6_k(values)
    cases = {
        "f32": (values, values),
        "f16": (values.astype(np.float16), values.astype(np.float16).astype(np.float32)),
        "bf16": (values.view(np.uint32) >> 16).astype(np.uint16),
        "q4_0": (q4_0, dequantize_q4_0(q4_0)),
        "q8_0": (q8_0, dequantize_q8_0(q8_0)),
        "q6_k": (q6_k, dequantize_q6_k(q6_k)),
        "i2_s": (pack_i2s(codes), codes.reshape(-1).astype(np.float32)),
    }
    cases["bf16"] = (cases["bf16"], (values.view(np.uint32) & 0xFFFF0000).view(np.float32))
    for encoding in (e for e in Encoding if e.value in ENCODINGS and e.value not in cases):
        tensor = random_blocks(encoding, 2, 512)
        cases[encoding.value] = (tensor.data, decode(tensor))
    for index, name in enumerate(ENCODINGS):
        stored, expected = cases[name]
        (out,) = probe.call("decode", index, 1024, arrays=(stored,))
        assert np.array_equal(floats(out), np.asarray(expected, np.float32).reshape(-1)), name


def test_every_half_converts_both_ways(probe: Probe) -> None:
    halfs = np.arange(65536, dtype=np.uint16)
    (out,) = probe.call("decode", ENCODINGS.index("f16"), 65536, arrays=(halfs,))
    expected = halfs.view(np.float16).astype(np.float32)
    assert np.array_equal(floats(out), expected, equal_nan=True)
    rng = np.random.default_rng(2)
    finite = expected[np.isfinite(expected)]
    between = (finite * (1 + rng.uniform(-1e-3, 1e-3, finite.shape))).astype(np.float32)
    ties = ((finite[:-1].astype(np.float64) + finite[1:]) / 2).astype(np.float32)
    extremes = np.array([65504, 65519.996, 65520, 1e9, -1e9, np.inf, -np.inf, 6e-8, 2.9e-8, 3e-8, 1e-30], np.float32)
    x = np.concatenate([between, ties, extremes])
    (out,) = probe.call("to_f16", arrays=(x,))
    with np.errstate(over="ignore"):
        assert np.array_equal(np.frombuffer(out, np.uint16), x.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("n_tokens", [1, 4, 6])
@pytest.mark.parametrize("encoding", ["f32", "f16"])
def test_add_low_rank(probe: Probe, encoding: str, n_tokens: int) -> None:
    rng = np.random.default_rng(8)
    rank, columns, panels = 5, 43, 3
    b = rng.standard_normal((panels * 16, rank)).astype({"f32": np.float32, "f16": np.float16}[encoding])
    b[columns:] = 0
    stored = np.ascontiguousarray(b.reshape(panels, 16, rank).swapaxes(1, 2))
    hidden = rng.standard_normal((n_tokens, rank)).astype(np.float32)
    out = rng.standard_normal((n_tokens, columns)).astype(np.float32)
    arrays = (stored.view(np.uint8), hidden, out)
    (got,) = probe.call("add_low_rank", ENCODINGS.index(encoding), rank, columns, arrays=arrays)
    expected = out + hidden.astype(np.float64) @ b[:columns].T.astype(np.float64)
    np.testing.assert_allclose(floats(got).reshape(n_tokens, columns), expected, atol=1e-5)
    for t in range(n_tokens):  # a token's result does not depend on other tokens
        alone = (arrays[0], hidden[t], out[t])
        (single,) = probe.call("add_low_rank", ENCODINGS.index(encoding), rank, columns, arrays=alone)
        assert np.array_equal(floats(single), floats(got).reshape(n_tokens, columns)[t])
    assert_same_bits(f"add_low_rank {encoding} {n_tokens}", got)


@pytest.mark.parametrize("n_tokens", [1, 4, 6, 9])
@pytest.mark.parametrize("encoding", ["f32", "f16", "bf16"])
def test_float_dot(probe: Probe, encoding: str, n_tokens: int) -> None:
    rng = np.random.default_rng(6)
    n_rows, cols = 5, 1040
    w = rng.standard_normal((n_rows, cols)).astype(np.float32)
    stored = {"f32": w, "f16": w.astype(np.float16), "bf16": (w.view(np.uint32) >> 16).astype(np.uint16)}[encoding]
    read = {"f32": w, "f16": stored.astype(np.float32), "bf16": (w.view(np.uint32) & 0xFFFF0000).view(np.float32)}
    x = rng.standard_normal((n_tokens, cols)).astype(np.float32)
    (out,) = probe.call("float_dot", ENCODINGS.index(encoding), n_rows, n_tokens, cols, arrays=(stored, x))
    got = floats(out).reshape(n_tokens, n_rows)
    np.testing.assert_allclose(got, x.astype(np.float64) @ read[encoding].T, atol=1e-4)
    for t in range(n_tokens):  # a token's result is that of the plain dot product, whatever other tokens there are
        (alone,) = probe.call("dot", arrays=(read[encoding][0], x[t]))
        assert floats(alone)[0] == got[t, 0]
    assert_same_bits(f"float_dot {encoding} {n_tokens}", out)


@pytest.mark.parametrize("kind", ["random", "extreme"])
@pytest.mark.parametrize("cols", [1280, 1536])
@pytest.mark.parametrize("encoding", INT15)
def test_int15_dot(probe: Probe, encoding: str, cols: int, kind: str) -> None:
    rng = np.random.default_rng(7)
    n_rows, n_tokens = 3, 7  # tokens are computed four at a time
    per_block, size, scale_at, extreme, dequantize = INT15[encoding]
    blocks = rng.integers(0, 256, (n_rows, cols // per_block, size), np.uint8)
    if kind == "extreme":  # every code and sub-scale at its largest magnitude
        blocks[:] = extreme
        if encoding == "q6_k":
            blocks[:, :, 192:208] = 0x80
    scales = rng.choice([2e-4, -2e-4, 1e-5], (n_rows, cols // per_block, 1)).astype(np.float16)
    blocks[:, :, scale_at : scale_at + 2] = scales.view(np.uint8)
    stored = blocks.reshape(n_rows, -1)
    x = rng.standard_normal((n_tokens, cols)).astype(np.float32)
    x[1] = np.where(rng.random(cols) < 0.5, 3.0, -3.0)
    x[2], x[3] = 5.0, 0.0
    high, low, scales_out, out = probe.call(
        "int15_dot", ENCODINGS.index(encoding), n_rows, n_tokens, cols, arrays=(stored, x)
    )
    scale = floats(scales_out)[:, None].astype(np.float64)
    values = (128.0 * np.frombuffer(high, np.int8) + np.frombuffer(low, np.int8)).reshape(x.shape) / scale
    assert np.abs(values - x).max(axis=1) == pytest.approx(0, abs=5.0 / 32512 * 1.001)
    weights = np.stack([dequantize(row).reshape(-1) for row in stored]).astype(np.float64)
    exact = values @ weights.T
    magnitude = np.abs(values) @ np.abs(weights).T + 1e-30
    assert (np.abs(floats(out).reshape(n_tokens, n_rows) - exact) / magnitude).max() < 1e-6
    for t in range(n_tokens):
        alone = probe.call("int15_dot", ENCODINGS.index(encoding), n_rows, 1, cols, arrays=(stored, x[t]))[3]
        assert np.array_equal(floats(alone), floats(out).reshape(n_tokens, n_rows)[t])
    assert_same_bits(f"int15_dot {encoding} {cols} {kind}", high + low + scales_out + out)


@pytest.mark.parametrize("kind", ["random", "least bytes", "most bytes"])
@pytest.mark.parametrize("encoding", [e.value for e in Encoding if e.value in ENCODINGS and e.activations == "int15"])
def test_panel_dot(probe: Probe, encoding: str, kind: str) -> None:
    rng = np.random.default_rng(11)
    n_rows, cols = 50, 768  # three panels and two rows
    tensor = random_blocks(Encoding(encoding), n_rows, cols)
    if kind != "random":
        blocks = tensor.data.reshape(-1, Encoding(encoding).block_bytes)
        halfs = [at + byte for at in block_scales_at(Encoding(encoding)) for byte in (0, 1)]
        blocks[:, np.setdiff1d(np.arange(blocks.shape[1]), halfs)] = 0 if kind == "least bytes" else 0xFF
    weights = decode(tensor).astype(np.float64)
    index = ENCODINGS.index(encoding)
    x = rng.standard_normal((70, cols)).astype(np.float32)  # from five tokens on in tiles, 64 at a time
    x[1], x[2], x[3] = np.where(rng.random(cols) < 0.5, 3.0, -3.0), 5.0, 0.0
    high, low, scales, out = probe.call("panel_dot", index, n_rows, len(x), cols, arrays=(tensor.data, x))
    values = (128.0 * np.frombuffer(high, np.int8) + np.frombuffer(low, np.int8)).reshape(x.shape)
    values /= floats(scales)[:, None].astype(np.float64)
    got = floats(out).reshape(len(x), n_rows)
    magnitude = np.abs(values) @ np.abs(weights).T + np.abs(values).sum(axis=1, keepdims=True) * np.abs(weights).max()
    assert (np.abs(got - values @ weights.T) / (magnitude + 1e-30)).max() < 1e-6
    for n in (1, 2, 3, 4, 5, 6, 7, 17):
        few = probe.call("panel_dot", index, n_rows, n, cols, arrays=(tensor.data, x[:n]))[3]
        assert np.array_equal(floats(few).reshape(n, n_rows), got[:n])
    assert_same_bits(f"panel_dot {encoding} {kind}", out)


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_int4_dot(probe: Probe, group: int, halves: int) -> None:
    rng = np.random.default_rng(group)
    n_rows, n_tokens, cols = 45, 70, 384  # three panels, of which the last is not full
    codes, groups = rng.integers(0, 16, (n_rows, cols)).astype(np.uint8), cols // group
    codes[3], codes[4] = 0, 15
    scales = rng.uniform(0.001, 0.01, (n_rows, groups)).astype(np.float16)
    zeros = np.where(rng.random((n_rows, groups)) < 0.5, rng.integers(0, 17, (n_rows, groups)), 15 * rng.random(groups))
    zeros = zeros.astype(np.float16)
    x = rng.integers(-127, 128, (halves, n_tokens, cols)).astype(np.int8)
    x[:, 1], x[:, 2], x[0, 3] = 127, -127, -128
    factors = rng.uniform(0.001, 1, (n_tokens, groups)).astype(np.float32)
    blocks, index = INT4[group].pack(codes, scales, zeros), ENCODINGS.index(f"int4_g{group}")
    (out,) = probe.call("int4_dot", index, n_rows, n_tokens, cols, arrays=(blocks, x, factors))
    values = x[0].astype(np.float64) if halves == 1 else 128.0 * x[0] + x[1]
    values *= np.repeat(factors, group, axis=1)
    weights = decode(Tensor("w", codes.shape, Encoding(f"int4_g{group}"), blocks)).astype(np.float64)
    got = floats(out).reshape(n_tokens, n_rows)
    magnitude = np.abs(values) @ np.abs(weights).T + 16 * np.abs(values).sum(axis=1, keepdims=True) * scales.max()
    assert (np.abs(got - values @ weights.T) / magnitude).max() < 1e-6
    assert_same_bits(f"int4_dot {group} {halves}", out)
    for n in (1, 2, 5, 11, 20, 33):
        part = np.ascontiguousarray(x[:, :n])
        few = probe.call("int4_dot", index, n_rows, n, cols, arrays=(blocks, part, factors[:n]))[0]
        assert np.array_equal(floats(few).reshape(n, n_rows), got[:n])


@pytest.mark.parametrize(
    ("encoding", "quantize"), [("q4_0", quantize_q4_0), ("q8_0", quantize_q8_0), ("q6_k", quantize_q6_k)]
)
def test_encode_gives_the_bytes_of_the_numpy_quantisers(probe: Probe, encoding: str, quantize: Any) -> None:
    rng = np.random.default_rng(8)
    x = (rng.standard_t(4, (16, 256)) * 10.0 ** rng.integers(-9, 8, (16, 1))).astype(np.float32)
    x[0], x[1, :32], x[2], x[3] = 0, 0, 6e-8, rng.integers(-3, 4, 256)
    expected = quantize(x.reshape(-1))
    (out,) = probe.call("encode", ENCODINGS.index(encoding), expected.size, arrays=(x,))
    assert out == expected.tobytes()
    x[5, 7] = np.nan if encoding == "q4_0" else -np.inf
    assert probe.call("encode", ENCODINGS.index(encoding), expected.size, arrays=(x,)) == [b""]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_products_are_added_with_one_rounding(probe: Probe, sign: float) -> None:
    """(1 + 2^-12)^2 lies halfway between two float32 values; the 2^-80 that is in the sum already decides the rounding,
    though not even float64 can hold both."""
    a, b = np.zeros(128, np.float32), np.zeros(128, np.float32)
    a[0], b[0] = sign * 2.0**-80, 1.0
    a[16] = b[16] = 1 + 2.0**-12
    (out,) = probe.call("dot", arrays=(a, b))
    assert floats(out)[0] == 1 + 2.0**-11 + (2.0**-23 if sign > 0 else 0)


@pytest.mark.parametrize(
    ("rows", "terms", "columns"), [(1, 1, 16), (1, 64, 128), (2, 33, 48), (5, 128, 32), (4, 0, 16), (19, 40, 112)]
)
def test_products_are_added_row_by_row(probe: Probe, rows: int, terms: int, columns: int) -> None:
    rng = np.random.default_rng(terms)
    a, b, c = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((rows, terms), (terms, columns), (rows, columns))
    )
    (out,) = probe.call("add_products", rows, terms, columns, arrays=(a, b, c))
    np.testing.assert_allclose(floats(out), (c + a.astype(np.float64) @ b).reshape(-1), atol=1e-4)
    (last,) = probe.call("add_products", 1, terms, columns, arrays=(a[-1:], b, c[-1:]))
    assert last == out[-len(last) :]
    assert_same_bits(f"add_products {rows} {terms} {columns}", out)


@pytest.mark.parametrize("by_columns", [0, 1])
@pytest.mark.parametrize(("tokens", "terms", "columns"), [(32, 32, 32), (64, 128, 96)])
def test_products_of_halves(probe: Probe, tokens: int, terms: int, columns: int, by_columns: int) -> None:
    rng = np.random.default_rng(terms)
    a, b, c = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((tokens, terms), (terms, columns), (tokens // 16, columns // 16, 16, 16))
    )
    stored = np.ascontiguousarray(b.T) if by_columns else b
    (out,) = probe.call("add_split_products", tokens, terms, columns, by_columns, arrays=(a, stored, c))
    assert bool(out) == (probe.isa == "amx")
    if out:
        tiles = (a.astype(np.float64) @ b).reshape(tokens // 16, 16, columns // 16, 16).swapaxes(1, 2)
        bound = 2.0**-15 * (np.abs(a).astype(np.float64) @ np.abs(b)).max()
        np.testing.assert_allclose(floats(out).reshape(c.shape), c + tiles, atol=bound, rtol=0)


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (128, 2), (150, 3)])
def test_panels_of_the_transposed_matrix(probe: Probe, rows: int, blocks: int) -> None:
    codes = np.random.default_rng(rows).integers(-1, 2, (rows, 128 * blocks)).astype(np.int8)
    (out,) = probe.call("pack_transposed_panels", rows, blocks, arrays=(pack_i2s(codes),))
    padded = np.ones((-(-rows // 128) * 128, 128 * blocks), np.uint8)
    padded[:rows] = codes + 1
    lines = padded.reshape(-1, 4, 4, blocks * 8, 16)  # [line, bits, byte, panel, row of the panel]
    expected = (lines << np.array([6, 4, 2, 0], np.uint8)[:, None, None, None]).sum(1, dtype=np.uint8)
    assert out == expected.transpose(2, 0, 3, 1).tobytes()
