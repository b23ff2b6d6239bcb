"""Q4_0, Q8_0 and Q6_K, GGUF's block formats for embeddings and heads (ggml's `block_q4_0`, `block_q8_0`, `block_q6_K`).

The quantisers give the same bytes as the native ones (native/kernels/encode.hpp).
"""

from __future__ import annotations

import numpy as np

Q4_0 = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
"""32 weights in 18 bytes: `w = d * (q - 8)`; q of weights j and j + 16 are the low and the high nibble of qs[j]."""
Q8_0 = np.dtype([("d", "<f2"), ("qs", "i1", 32)])
"""32 weights in 34 bytes: `w = d * qs`."""
Q6_K = np.dtype([("ql", "u1", (2, 64)), ("qh", "u1", (2, 32)), ("scales", "i1", 16), ("d", "<f2")])
"""256 weights in 210 bytes: `w = d * scales[weight // 16] * (q - 32)`, q of 6 bits.

In each half of 128 weights, q of weight 32*k + j (k = 0..3) has its low 4 bits in the nibble k // 2 of
ql[32 * (k % 2) + j] and its high 2 bits in the bits 2k, 2k+1 of qh[j].
"""


def finite_half(x: np.ndarray) -> np.ndarray:
    """x in float16; what is beyond its range becomes its largest number."""
    return np.clip(x, -65504, 65504).astype("<f2")


def _codes(x: np.ndarray, step: np.ndarray, least: int, most: int) -> np.ndarray:
    """x / step, rounded and clipped to least..most, as float32; 0 where the step is 0."""
    with np.errstate(over="ignore"):
        ratio = np.divide(x, step, out=np.zeros_like(x), where=step != 0)
    return np.rint(np.clip(ratio, least, most))


def _sum(x: np.ndarray) -> np.ndarray:
    """Sums over the last axis, a multiple of 16, in the order of the engine's lanes (native/kernels/lanes.hpp)."""
    lanes = x.reshape(*x.shape[:-1], -1, 16)
    total = lanes[..., 0, :]
    for i in range(1, lanes.shape[-2]):
        total = total + lanes[..., i, :]
    for width in (8, 4, 2, 1):
        total = total[..., :width] + total[..., width:]
    return total[..., 0]


def _best_scale(groups: np.ndarray, levels: int) -> np.ndarray:
    """The signed scale of each group (last axis) of float32 values with which codes -levels..levels-1 fit it best.

    Five trial scales put the value of largest magnitude at -levels * 29/32 to -levels * 33/32, on the side where the
    codes reach further. Each trial gives a set of codes, and least squares a scale for them; the scale with the least
    squared error is taken.
    """
    highest, lowest = groups.max(axis=-1), groups.min(axis=-1)
    extreme = np.where(highest > -lowest, highest, lowest)
    shares = np.divide(groups, extreme[..., None], out=np.zeros_like(groups), where=extreme[..., None] != 0)
    best, fit = np.full(extreme.shape, -1, np.float32), np.zeros(extreme.shape, np.float32)
    for candidate in (29, 30, 31, 32, 33):
        codes = np.rint(np.clip(shares * np.float32(-levels * candidate / 32), -levels, levels - 1))
        products, squares = _sum(shares * codes), _sum(codes * codes)
        squares[squares == 0] = 1  # a group of zeros, whose products are 0 as well
        gain = products * products / squares  # by how much the fit lowers the squared error
        fit = np.where(gain > best, products / squares, fit)
        best = np.maximum(gain, best)
    return np.where(extreme == 0, np.float32(0), extreme * fit)  # never -0


def quantize_q4_0(weight: np.ndarray) -> np.ndarray:
    """Quantises float values, a multiple of 32 of them, to a uint8 vector of Q4_0 blocks.

    ggml puts the value of largest magnitude at -8; the scale for that is one of those tried here.
    """
    groups = np.asarray(weight, np.float32).reshape(-1, 32)
    blocks = np.zeros(len(groups), Q4_0)
    blocks["d"] = finite_half(_best_scale(groups, 8))
    q = (_codes(groups, blocks["d"].astype(np.float32)[:, None], -8, 7) + 8).astype(np.uint8)
    blocks["qs"] = q[:, :16] | q[:, 16:] << 4
    return blocks.view(np.uint8)


def dequantize_q4_0(data: np.ndarray) -> np.ndarray:
    """Float32 vector of the weights in a uint8 vector of Q4_0 blocks."""
    blocks = np.ascontiguousarray(data).view(Q4_0)
    q = np.concatenate([blocks["qs"] & 15, blocks["qs"] >> 4], axis=1).astype(np.float32) - 8
    return (blocks["d"].astype(np.float32)[:, None] * q).reshape(-1)


def quantize_q8_0(weight: np.ndarray) -> np.ndarray:
    """Quantises float values, a multiple of 32 of them, to a uint8 vector of Q8_0 blocks: `d = max|w| / 127` in
    float16."""
    groups = np.asarray(weight, np.float32).reshape(-1, 32)
    blocks = np.zeros(len(groups), Q8_0)
    blocks["d"] = finite_half(np.abs(groups).max(axis=1) / np.float32(127))
    blocks["qs"] = _codes(groups, blocks["d"].astype(np.float32)[:, None], -127, 127)
    return blocks.view(np.uint8)


def dequantize_q8_0(data: np.ndarray) -> np.ndarray:
    """Float32 vector of the weights in a uint8 vector of Q8_0 blocks."""
    blocks = np.ascontiguousarray(data).view(Q8_0)
    return (blocks["d"].astype(np.float32)[:, None] * blocks["qs"]).reshape(-1)


def quantize_q6_k(weight: np.ndarray) -> np.ndarray:
    """Quantises float values, a multiple of 256 of them, to a uint8 vector of Q6_K blocks."""
    groups = np.asarray(weight, np.float32).reshape(-1, 16, 16)
    scale = _best_scale(groups, 32)
    d = finite_half(np.abs(scale).max(axis=1) / np.float32(127)).astype(np.float32)
    scales = _codes(scale, d[:, None], -128, 127)
    return pack_q6_k(d, scales, _codes(groups, (d[:, None] * scales)[..., None], -32, 31)).view(np.uint8)


def pack_q6_k(d: np.ndarray, scales: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Q6_K blocks of d [blocks], scales [blocks, 16] and codes -32..31 [blocks, 16, 16], whole numbers of any type."""
    blocks = np.zeros(len(d), Q6_K)
    blocks["d"], blocks["scales"] = d, scales
    q = (codes + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    blocks["ql"][:, :, :32] = (q[:, :, 0] & 15) | (q[:, :, 2] & 15) << 4
    blocks["ql"][:, :, 32:] = (q[:, :, 1] & 15) | (q[:, :, 3] & 15) << 4
    for k in range(4):
        blocks["qh"] |= (q[:, :, k] >> 4) << (2 * k)
    return blocks


def dequantize_q6_k(data: np.ndarray) -> np.ndarray:
    """Float32 vector of the weights in a uint8 vector of Q6_K blocks."""
    blocks = np.ascontiguousarray(data).view(Q6_K)
    ql, qh = blocks["ql"], blocks["qh"]
    low = np.stack([ql[:, :, :32] & 15, ql[:, :, 32:] & 15, ql[:, :, :32] >> 4, ql[:, :, 32:] >> 4], axis=2)
    high = np.stack([(qh >> 2 * k) & 3 for k in range(4)], axis=2)
    q = (low | high << 4).astype(np.float32) - 32
    scales = blocks["d"].astype(np.float32)[:, None] * blocks["scales"]
    return (q.reshape(-1, 16, 16) * scales[..., None]).reshape(-1)
