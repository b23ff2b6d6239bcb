"""Kernels of attention, in every build, against numpy, and to the same bits in all builds."""

from __future__ import annotations

import numpy as np
import pytest

from sterna.model.oracle import rounded

from .bits import assert_same_bits, floats
from .probe import Probe

KV_TYPES = {"f16": np.float16, "int8": np.int8, "f32": np.float32}


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize(
    ("group", "head_dim", "n_tokens", "position", "window", "segment"),
    [
        (1, 64, 1, 0, 0, 0),
        (2, 40, 1, 63, 0, 0),
        (4, 128, 8, 60, 0, 0),
        (3, 96, 2, 300, 0, 128),
        (7, 16, 5, 130, 0, 64),
        (4, 32, 8, 250, 70, 0),
        (2, 48, 8, 124, 1, 64),
        (1, 64, 3, 200, 64, 128),
        (2, 32, 6, 60, 5, 64),
    ],
)
def test_attention(
    probe: Probe, kv: str, group: int, head_dim: int, n_tokens: int, position: int, window: int, segment: int
) -> None:
    rng = np.random.default_rng(position)
    positions = position + n_tokens
    q = (rng.standard_normal((n_tokens, group, head_dim)) * 3).astype(np.float32)
    k, v = rng.standard_normal((2, positions, head_dim)).astype(np.float32)
    k[0] = 0
    n_blocks = -(-positions // 64)
    blocks = rng.permutation(n_blocks + 2)[:n_blocks].astype(np.int32)
    numbers = list(KV_TYPES).index(kv), group, head_dim, window, segment
    (out,) = probe.call("attention", *numbers, arrays=(q, k, v, blocks))
    k, v = (rounded(a, KV_TYPES[kv]).astype(np.float64) for a in (k, v))
    if kv == "int8":
        q = rounded(q, np.int16)
    atol = 3e-4 if kv == "int8" else 1e-5  # softmax weights are 16-bit codes
    for t, row in enumerate(floats(out).reshape(q.shape)):
        seen = slice(max(0, position + t + 1 - (window or positions)), position + t + 1)
        scores = q[t] @ k[seen].T / np.sqrt(head_dim)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        np.testing.assert_allclose(row, p / p.sum(axis=1, keepdims=True) @ v[seen], rtol=1e-4, atol=atol)
    assert_same_bits(f"attention {kv} {position} {window}", out)


def test_sums_of_int8_attention_fit_into_32_bits(probe: Probe) -> None:
    head_dim = 4096  # the largest possible
    same = np.full((64, head_dim), 5, np.float32)
    (out,) = probe.call("attention", 1, 1, head_dim, 0, 0, arrays=(same[:1], same, same, np.zeros(1, np.int32)))
    np.testing.assert_allclose(floats(out), 5, rtol=1e-4)
    broken = same[:1].copy()
    broken[:, : head_dim // 2] = np.nan  # becomes the largest code
    (out,) = probe.call("attention", 1, 1, head_dim, 0, 0, arrays=(broken, same, same, np.zeros(1, np.int32)))
    np.testing.assert_allclose(floats(out), 5, rtol=1e-4)
    other = same * np.where(np.arange(64) == 9, 1, -1).astype(np.float32)[:, None]  # one key equals the query
    (out,) = probe.call("attention", 1, 1, head_dim, 0, 0, arrays=(same[:1], other, other, np.zeros(1, np.int32)))
    np.testing.assert_allclose(floats(out), 5, rtol=1e-4)
