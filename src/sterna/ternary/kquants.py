"""GGUF's other block formats (layouts of ggml's `block_q4_1`, ..., `block_q5_K`).

Each dequantiser takes a uint8 vector of blocks and gives the float32 vector of their weights, 32 or 256 a block.
`importance.py` writes Q4_K, Q5_K and IQ4_NL; the others are only read.
"""

from __future__ import annotations

import numpy as np

Q4_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)])
"""32 weights in 20 bytes: `w = d * q + m`; q of weights i and i + 16 are the low and the high nibble of qs[i]."""
Q5_0 = np.dtype([("d", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)])
"""32 weights in 22 bytes: `w = d * (q - 16)`; nibbles as in Q4_1, the fifth bit of weight i is bit i of qh."""
Q5_1 = np.dtype([("d", "<f2"), ("m", "<f2"), ("qh", "<u4"), ("qs", "u1", 16)])
"""32 weights in 24 bytes: `w = d * q + m`, q as in Q5_0."""
Q2_K = np.dtype([("scales", "u1", 16), ("qs", "u1", (2, 32)), ("d", "<f2"), ("dmin", "<f2")])
"""256 weights in 84 bytes: `w = d * scale * q - dmin * min`; scale and min are the low and the high nibble of
scales[weight // 16]. In each half of 128, q of weight 32k + j is in the bits 2k, 2k + 1 of qs[j]."""
Q3_K = np.dtype([("hmask", "u1", 32), ("qs", "u1", (2, 32)), ("scales", "u1", 12), ("d", "<f2")])
"""256 weights in 110 bytes: `w = d * (scale - 32) * (q - 4)`. The low two bits of q are as in Q2_K; the third bit of
weight 128h + 32k + j is bit 4h + k of hmask[j]. The low four bits of scale i are the low (i < 8) or high nibble of
scales[i % 8], its high two bits are the bits 2(i // 4) and 2(i // 4) + 1 of scales[8 + i % 4]."""
Q4_K = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", (4, 32))])
"""256 weights in 144 bytes: `w = d * scale * q - dmin * min`, a scale and a min (six bits each: `_scales_and_mins`) for
every 32. In each 64, q of weights j and j + 32 are the low and the high nibble of qs[j]."""
Q5_K = np.dtype([("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qh", "u1", 32), ("qs", "u1", (4, 32))])
"""256 weights in 176 bytes: Q4_K with a fifth bit, which for weight 32k + j is bit k of qh[j]."""
IQ4_NL = np.dtype([("d", "<f2"), ("qs", "u1", 16)])
"""32 weights in 18 bytes: `w = d * IQ4_NL_VALUES[q]`; nibbles as in Q4_1."""
IQ4_NL_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)
"""What the sixteen codes of IQ4_NL stand for: closer together near 0, as weights are (ggml's `kvalues_iq4nl`)."""

PAIRS = np.array([0, 2, 4, 6], np.uint8)[:, None]
BITS = np.arange(8, dtype=np.uint8)[:, None]


def dequantize_q4_1(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q4_1 blocks."""
    blocks = _blocks(data, Q4_1)
    return (_column(blocks["d"]) * _nibbles(blocks["qs"]) + _column(blocks["m"])).reshape(-1)


def dequantize_q5_0(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q5_0 blocks."""
    blocks = _blocks(data, Q5_0)
    return (_column(blocks["d"]) * (_five_bits(blocks).astype(np.int8) - 16)).reshape(-1)


def dequantize_q5_1(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q5_1 blocks."""
    blocks = _blocks(data, Q5_1)
    return (_column(blocks["d"]) * _five_bits(blocks) + _column(blocks["m"])).reshape(-1)


def dequantize_iq4_nl(data: np.ndarray) -> np.ndarray:
    """Float32 weights of IQ4_NL blocks."""
    blocks = _blocks(data, IQ4_NL)
    return (_column(blocks["d"]) * IQ4_NL_VALUES[_nibbles(blocks["qs"])]).reshape(-1)


def dequantize_q2_k(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q2_K blocks."""
    blocks = _blocks(data, Q2_K)
    return _affine(blocks, blocks["scales"] & 15, blocks["scales"] >> 4, _pairs(blocks["qs"]))


def dequantize_q3_k(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q3_K blocks."""
    blocks = _blocks(data, Q3_K)
    packed = blocks["scales"]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    high = ((packed[:, None, 8:] >> PAIRS) & 3).reshape(-1, 16)
    scales = _column(blocks["d"]) * ((low | high << 4).astype(np.int8) - 32)
    third = ((blocks["hmask"][:, None, :] >> BITS) & 1).reshape(-1, 2, 4, 32)
    q = (_pairs(blocks["qs"]) | third << 2).astype(np.int8) - 4
    return (scales[..., None] * q.reshape(-1, 16, 16)).reshape(-1)


def dequantize_q4_k(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q4_K blocks."""
    blocks = _blocks(data, Q4_K)
    return _affine(blocks, *_scales_and_mins(blocks["scales"]), _nibbles(blocks["qs"]))


def dequantize_q5_k(data: np.ndarray) -> np.ndarray:
    """Float32 weights of Q5_K blocks."""
    blocks = _blocks(data, Q5_K)
    fifth = ((blocks["qh"][:, None, :] >> BITS) & 1).reshape(-1, 4, 64)
    return _affine(blocks, *_scales_and_mins(blocks["scales"]), _nibbles(blocks["qs"]) | fifth << 4)


def _blocks(data: np.ndarray, layout: np.dtype) -> np.ndarray:
    return np.ascontiguousarray(data).view(layout)


def _column(halfs: np.ndarray) -> np.ndarray:
    """The float16 of each block as a float32 column."""
    return halfs.astype(np.float32)[:, None]


def _nibbles(packed: np.ndarray) -> np.ndarray:
    """Low nibbles of the last axis, then high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


def _pairs(packed: np.ndarray) -> np.ndarray:
    """Two-bit fields [blocks, 2, 4, 32] of bytes [blocks, 2, 32]."""
    fields: np.ndarray = (packed[:, :, None, :] >> PAIRS) & 3
    return fields


def _five_bits(blocks: np.ndarray) -> np.ndarray:
    """q of Q5_0 and Q5_1: uint8 [blocks, 32]."""
    fifth = (blocks["qh"][:, None] >> np.arange(32, dtype=np.uint32)) & 1
    q: np.ndarray = _nibbles(blocks["qs"]) | (fifth << 4).astype(np.uint8)
    return q


def _scales_and_mins(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight mins of six bits in twelve bytes (Q4_K, Q5_K).

    Groups 0 to 3: the scales are the low six bits of bytes 0 to 3, the mins those of bytes 4 to 7. Groups 4 to 7: the
    low four bits of scales and mins are the low and the high nibbles of bytes 8 to 11, their high two bits are the
    highest two of bytes 0 to 3 (scales) and 4 to 7 (mins).
    """
    first, second, third = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, third & 15 | first >> 6 << 4], axis=1)
    mins = np.concatenate([second & 63, third >> 4 | second >> 6 << 4], axis=1)
    return scales, mins


def _affine(blocks: np.ndarray, scales: np.ndarray, mins: np.ndarray, q: np.ndarray) -> np.ndarray:
    """`d * scale * q - dmin * min`, scales and mins [blocks, groups] for equal groups of q."""
    steps, offsets = _column(blocks["d"]) * scales, _column(blocks["dmin"]) * mins
    return (steps[..., None] * q.reshape(*scales.shape, -1) - offsets[..., None]).reshape(-1)


def pack_affine(
    d: np.ndarray, dmin: np.ndarray, scales: np.ndarray, mins: np.ndarray, codes: np.ndarray, *, bits: int
) -> np.ndarray:
    """Blocks of Q4_K (`bits` 4) or Q5_K (5): d and dmin [blocks], scales and mins 0..63 [blocks, 8], codes
    [blocks, 8, 32], whole numbers of any type."""
    blocks = np.zeros(len(d), Q4_K if bits == 4 else Q5_K)
    blocks["d"], blocks["dmin"] = d, dmin
    scales, mins = scales.astype(np.uint8), mins.astype(np.uint8)
    packed = blocks["scales"]
    packed[:, :4] = scales[:, :4] | scales[:, 4:] >> 4 << 6
    packed[:, 4:8] = mins[:, :4] | mins[:, 4:] >> 4 << 6
    packed[:, 8:] = scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4
    q = codes.astype(np.uint8)
    blocks["qs"] = q[:, ::2] & 15 | (q[:, 1::2] & 15) << 4
    if bits == 5:
        blocks["qh"] = np.bitwise_or.reduce(q >> 4 << BITS, axis=1)
    return blocks
