"""Kernels of rows, in every build, against numpy: floats to 1e-5 and to the same bits in all builds."""

from __future__ import annotations

import numpy as np
import pytest

from sterna.model.oracle import rotate as oracle_rotate
from sterna.ternary.quantize import absmax

from .bits import assert_same_bits, floats
from .probe import Probe


@pytest.mark.parametrize(("group", "scaled"), [(32, 32), (128, 128), (256, 64)])
def test_rotate(probe: Probe, group: int, scaled: int) -> None:
    rng = np.random.default_rng(group)
    rotations, groups = 3, 2
    pairs = rng.permuted(np.broadcast_to(np.arange(group), (rotations, groups, group)), axis=-1)
    angles = rng.uniform(-3, 3, (rotations, groups, group // 2))
    # Where a column lies after a rotation: the first partners, then the second ones.
    lie = np.concatenate([pairs[..., 0::2], pairs[..., 1::2]], axis=-1)
    places = [lie[0], *(np.take_along_axis(np.argsort(a), b, axis=-1) for a, b in zip(lie, lie[1:], strict=False))]
    places.append(np.argsort(lie[-1]))
    x, scales = (rng.standard_normal(shape).astype(np.float32) for shape in ((16, groups * group), groups * group))
    tables = [*(f(angles).astype(np.float32) for f in (np.cos, np.sin)), np.uint16(16 * pairs), np.uint8(places)]

    def rotate(n: int) -> list[bytes]:
        return probe.call("rotate", rotations, groups, group, scaled, arrays=(x[:n], scales, *tables))

    out, codes, code_scales, sums = rotate(len(x))
    columns = (pairs + group * np.arange(groups)[:, None]).reshape(rotations, -1)
    expected = oracle_rotate(x * scales, angles.reshape(rotations, -1), columns)
    np.testing.assert_allclose(floats(out).reshape(x.shape), expected, rtol=1e-5, atol=1e-5)
    assert_same_bits(f"rotate {group}", out)
    expected_codes, expected_scales = absmax(floats(out).reshape(-1, scaled))
    got = np.frombuffer(codes, np.int8).reshape(-1, scaled)
    assert np.array_equal(got, expected_codes) and np.array_equal(floats(code_scales), np.ravel(expected_scales))
    assert np.array_equal(np.frombuffer(sums, np.int32), got.sum(axis=1, dtype=np.int32))
    for n in (1, 3, 5):  # one by one, or as one tile
        whole = out, codes, code_scales, sums
        assert all(part == all_of[: len(part)] for part, all_of in zip(rotate(n), whole, strict=True))


@pytest.mark.parametrize("n", [128, 200, 2560])
def test_rms_norm_and_dot(probe: Probe, n: int) -> None:
    rng = np.random.default_rng(n)
    padded = -(-n // 128) * 128
    x, w = np.zeros((2, padded), np.float32)
    x[:n], w[:n] = rng.standard_normal((2, n))
    (out,) = probe.call("rms_norm", n, arrays=(x, w))
    expected = x / np.sqrt(np.mean(np.square(x[:n], dtype=np.float64)) + 1e-5) * w
    np.testing.assert_allclose(floats(out), expected, rtol=1e-5)
    assert_same_bits(f"rms_norm {n}", out)
    (out,) = probe.call("dot", arrays=(x, w))
    np.testing.assert_allclose(floats(out)[0], np.dot(x.astype(np.float64), w), atol=1e-4)
    assert_same_bits(f"dot {n}", out)


def test_decays(probe: Probe) -> None:
    x = -np.linspace(0, 100, 352, dtype=np.float32)
    (out,) = probe.call("decays", arrays=(x,))
    np.testing.assert_allclose(floats(out), np.where(x < -50, 0, np.exp(x.astype(np.float64))), rtol=3e-7)
    assert_same_bits("decays", out)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 1024, 3000])
def test_softmax_sums(probe: Probe, n: int) -> None:
    x = (np.random.default_rng(n).standard_normal(n) * 20).astype(np.float32)
    largest, total = probe.call("softmax_sums", arrays=(x,))
    assert floats(largest)[0] == x.max()
    expected = np.exp(x.astype(np.float64) - x.max()).sum()
    assert np.frombuffer(total, np.float64)[0] == pytest.approx(expected, rel=1e-6)
    assert_same_bits(f"softmax_sums {n}", total)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e6])
def test_quantize_is_absmax(probe: Probe, scale: float) -> None:
    x = (np.random.default_rng(3).standard_normal(1280) * scale).astype(np.float32)
    codes, scale_out, total = probe.call("quantize", arrays=(x,))
    expected, s = absmax(x)
    got = np.frombuffer(codes, np.int8)
    assert np.array_equal(got, expected)
    assert floats(scale_out)[0] == np.ravel(s)[0]
    assert np.frombuffer(total, np.int32)[0] == expected.astype(np.int64).sum()
    assert_same_bits(f"quantize {scale}", codes + scale_out)


@pytest.mark.parametrize("activation", ["relu2", "silu", "gelu", "sigmoid"])
def test_gated(probe: Probe, activation: str) -> None:
    rng = np.random.default_rng(4)
    gate = np.concatenate([rng.standard_normal(120) * 5, [0, -0.0, 30, -30, 88, -88, 200, -200]]).astype(np.float32)
    up = rng.standard_normal(128).astype(np.float32)
    (out,) = probe.call("gated", ("relu2", "silu", "gelu", "sigmoid").index(activation), arrays=(gate, up))
    g = gate.astype(np.float64)
    values = {
        "relu2": np.maximum(g, 0) ** 2,
        "silu": g / (1 + np.exp(-g)),
        "sigmoid": 1 / (1 + np.exp(-g)),
        # g / 2 * (1 + tanh(u)) without its cancellation
        "gelu": g / (1 + np.exp(np.minimum(-2 * np.sqrt(2 / np.pi) * (g + 0.044715 * g**3), 700))),
    }
    expected = values[activation] * up
    np.testing.assert_allclose(floats(out), expected, rtol=1e-5, atol=1e-30)
    assert_same_bits(f"gated {activation}", out)


@pytest.mark.parametrize("style", ["half", "interleaved"])
def test_rope(probe: Probe, style: str) -> None:
    rng = np.random.default_rng(5)
    head = rng.standard_normal(64).astype(np.float32)
    angles = rng.uniform(0, 6, 32)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    (out,) = probe.call("rope", ("half", "interleaved").index(style), arrays=(head, cos, sin))
    pairs = head.reshape(2, 32).T if style == "half" else head.reshape(32, 2)
    rotated = (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * angles)
    turned = np.stack([rotated.real, rotated.imag], axis=1)
    np.testing.assert_allclose(floats(out), (turned.T if style == "half" else turned).reshape(-1), atol=1e-5)
    assert_same_bits(f"rope {style}", out)
