"""Q8_0 and Q6_K, the GGUF block formats of embeddings and heads (layouts of ggml's `block_q8_0`, `block_q6_K`)."""

from __future__ import annotations

import numpy as np

Q8_0 = np.dtype([("d", "<f2"), ("qs", "i1", 32)])
"""32 weights in 34 bytes: `w = d * qs`."""
Q6_K = np.dtype([("ql", "u1", (2, 64)), ("qh", "u1", (2, 32)), ("scales", "i1", 16), ("d", "<f2")])
"""256 weights in 210 bytes: `w = d * scales[weight // 16] * (q - 32)`, q of 6 bits.

In each half of 128 weights, q of weight 32*k + j (k = 0..3) has its low 4 bits in the nibble k // 2 of
ql[32 * (k % 2) + j] and its high 2 bits in the bits 2k, 2k+1 of qh[j].
"""


def _finite_half(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -65504, 65504).astype("<f2")


def quantize_q8_0(weight: np.ndarray) -> np.ndarray:
    """Quantise float values, a multiple of 32, to a uint8 vector of Q8_0 blocks: `d = max|w| / 127` in float16."""
    groups = np.asarray(weight, np.float32).reshape(-1, 32)
    blocks = np.zeros(len(groups), Q8_0)
    blocks["d"] = _finite_half(np.abs(groups).max(axis=1) / np.float32(127))
    d = blocks["d"].astype(np.float32)[:, None]
    blocks["qs"] = np.clip(np.rint(np.divide(groups, d, out=np.zeros_like(groups), where=d > 0)), -127, 127)
    return blocks.view(np.uint8)


def dequantize_q8_0(data: np.ndarray) -> np.ndarray:
    """Float32 vector of the weights in a uint8 vector of Q8_0 blocks."""
    blocks = np.ascontiguousarray(data).view(Q8_0)
    return (blocks["d"].astype(np.float32)[:, None] * blocks["qs"]).reshape(-1)


def quantize_q6_k(weight: np.ndarray) -> np.ndarray:
    """Quantise float values, a multiple of 256 of them, to a uint8 vector of Q6_K blocks.

    Each group of 16 gets the signed scale that maps its largest magnitude to -32, the end with the longer range.
    """
    groups = np.asarray(weight, np.float32).reshape(-1, 16, 16)
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(axis=2)[..., None], axis=2)[..., 0]
    scale = extreme / np.float32(-32)
    blocks = np.zeros(len(groups), Q6_K)
    blocks["d"] = _finite_half(np.abs(scale).max(axis=1) / np.float32(127))
    d = blocks["d"].astype(np.float32)[:, None]
    blocks["scales"] = np.clip(np.rint(np.divide(scale, d, out=np.zeros_like(scale), where=d > 0)), -128, 127)
    step = (d * blocks["scales"])[..., None]
    q = np.rint(np.divide(groups, step, out=np.zeros_like(groups), where=step != 0))
    q = (np.clip(q, -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    blocks["ql"][:, :, :32] = (q[:, :, 0] & 15) | (q[:, :, 2] & 15) << 4
    blocks["ql"][:, :, 32:] = (q[:, :, 1] & 15) | (q[:, :, 3] & 15) << 4
    for k in range(4):
        blocks["qh"] |= (q[:, :, k] >> 4) << (2 * k)
    return blocks.view(np.uint8)


def dequantize_q6_k(data: np.ndarray) -> np.ndarray:
    """Float32 vector of the weights in a uint8 vector of Q6_K blocks."""
    blocks = np.ascontiguousarray(data).view(Q6_K)
    ql, qh = blocks["ql"], blocks["qh"]
    low = np.stack([ql[:, :, :32] & 15, ql[:, :, 32:] & 15, ql[:, :, :32] >> 4, ql[:, :, 32:] >> 4], axis=2)
    high = np.stack([(qh >> 2 * k) & 3 for k in range(4)], axis=2)
    q = (low | high << 4).astype(np.float32) - 32
    scales = blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
    return (q.reshape(-1, 16, 16) * scales[..., None]).reshape(-1)
