"""Encoders of GGUF's block formats that minimise a weighted squared error, `sum of importance * (w - ŵ)²`.

With the mean square of each input of a matrix as its importance (an importance matrix, `checkpoint/imatrix`), that sum
is the expected squared error of the matrix's outputs, were its inputs uncorrelated. Layouts: `blocks.py`, `kquants.py`.

Every encoder searches in the same way. Trial scales give sets of codes, and least squares gives each set its scale;
the best is taken, and rounding and least squares alternate from there. Where a format keeps the scales of small groups
as whole numbers, neighbouring numbers are tried while the scale of all groups is fitted again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sterna.ternary.blocks import Q4_0, finite_half, pack_q6_k
from sterna.ternary.kquants import IQ4_NL, IQ4_NL_VALUES, pack_affine

CHUNK = 1 << 15
"""Weights that are encoded together: what the search needs for them fits into a core's cache."""
TRIALS = np.linspace(0.72, 1.12, 12, dtype=np.float32)
"""Trial scales, as shares of the one that puts the value of largest magnitude at the last code."""
NARROW = np.array([0.06, 0.1, 0.16, 0.24, 0.36, 0.5, 0.62], np.float32)
"""More of them, for groups whose largest values are in columns of little importance."""
ROUNDS = 3
"""Rounds of rounding and least squares after the trials."""
REFITS = 2
"""How often neighbours of the small groups' whole scales are tried."""
FLOOR = np.float32(1e-6)
"""Least importance, as a share of the mean: an input that was 0 in all calibration may be another number later."""
SINGULAR = np.float32(1e-5)
"""Determinants of least squares are noise below this share of the product that they are a difference from."""

Search = Callable[[np.ndarray, np.ndarray], np.ndarray]
Levels = Callable[[np.ndarray], np.ndarray]
"""Rounds to the nearest of some numbers."""


def quantize_q4_0(weight: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Blocks of Q4_0, a uint8 vector; `weight` and `importance` as in `encode`."""
    return encode(_q4_0, weight, importance, 32)


def quantize_iq4_nl(weight: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Blocks of IQ4_NL, a uint8 vector; `weight` and `importance` as in `encode`."""
    return encode(_iq4_nl, weight, importance, 32)


def quantize_q4_k(weight: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Blocks of Q4_K, a uint8 vector; `weight` and `importance` as in `encode`."""
    return encode(lambda x, w: pack_affine(*_affine(x, w, 15), bits=4), weight, importance, 256)


def quantize_q5_k(weight: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Blocks of Q5_K, a uint8 vector; `weight` and `importance` as in `encode`."""
    return encode(lambda x, w: pack_affine(*_affine(x, w, 31), bits=5), weight, importance, 256)


def quantize_q6_k(weight: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """Blocks of Q6_K, a uint8 vector; `weight` and `importance` as in `encode`."""
    return encode(_q6_k, weight, importance, 256)


def encode(search: Search, weight: np.ndarray, importance: np.ndarray | None, block: int) -> np.ndarray:
    """The blocks that `search` makes of float32 `weight` [rows, columns], or of a vector of whole blocks.

    `importance`: float32 [columns], not negative; None where all weights count alike. `search` takes float32 weights
    and their importance [blocks, block] and gives the blocks."""
    x = np.asarray(weight, np.float32).reshape(-1, block)
    shares = importance_shares(np.ones(block) if importance is None else importance).reshape(-1, block)
    step = -(-CHUNK // shares.size) * len(shares)
    shares = np.tile(shares, (step // len(shares), 1))
    parts = [x[first : first + step] for first in range(0, len(x), step)]
    with np.errstate(over="ignore"):  # squares of numbers that no float16 scale reaches
        return np.concatenate([search(part, shares[: len(part)]).view(np.uint8) for part in parts])


def importance_shares(importance: np.ndarray) -> np.ndarray:
    """The weights of squared errors, float32 [columns], none of which is 0: the importance of columns as shares of its
    mean, at least `FLOOR`; all 1 where the importance is 0 everywhere."""
    mean = importance.mean(dtype=np.float64)
    return np.maximum(importance / mean if mean > 0 else np.ones(importance.shape), FLOOR).astype(np.float32)


def _sum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums of products over the last axis."""
    return np.einsum("...i,...i->...", x, y)


def _ratio(x: np.ndarray | float, y: np.ndarray) -> np.ndarray:
    """`x / y`, 0 where y is 0 or the quotient is beyond float32."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        quotient = np.divide(x, y, dtype=np.float32)
    return np.where(np.isfinite(quotient), quotient, np.float32(0))


def _inverse(d: np.ndarray) -> np.ndarray:
    """`1 / d` of the float16 scale of each block, a float32 column."""
    return _ratio(1, d.astype(np.float32)[:, None])


def _whole(x: np.ndarray, least: int, most: int) -> np.ndarray:
    """x rounded to the whole numbers `least` to `most`."""
    rounded: np.ndarray = np.rint(np.minimum(np.maximum(x, least), most))
    return rounded


def _scale(x: np.ndarray, w: np.ndarray, ends: tuple[int, ...], nearest: Levels) -> np.ndarray:
    """The signed scale of each group (last axis) with which the levels that `nearest` rounds to fit x best; `ends`: the
    levels where the value of largest magnitude may lie."""
    extreme = np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)
    wx = w * x
    best, scale = np.zeros(x.shape[:-1], np.float32), np.zeros(x.shape[:-1], np.float32)

    def attempt(inverse: np.ndarray) -> None:
        nonlocal best, scale
        levels = nearest(x * inverse)
        products = _sum(wx, levels)
        fit = _ratio(products, _sum(w * levels, levels))
        gain = fit * products  # by how much the fit lowers the squared error
        scale, best = np.where(gain > best, fit, scale), np.maximum(gain, best)

    inverse = _ratio(1, extreme)
    for end in ends:
        for share in (*NARROW, *TRIALS):
            attempt(inverse * np.float32(end / share))
    for _ in range(ROUNDS):
        attempt(_ratio(1, scale)[..., None])
    return scale


def _q4_0(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    blocks = np.zeros(len(x), Q4_0)
    blocks["d"] = finite_half(_scale(x, w, (-8, 7), lambda y: _whole(y, -8, 7)))
    q = (_whole(x * _inverse(blocks["d"]), -8, 7) + 8).astype(np.uint8)
    blocks["qs"] = q[:, :16] | q[:, 16:] << 4
    return blocks


HALVES = np.arange(-256, 256, dtype=np.float32) / 2
NEAREST_CODE = np.abs(HALVES[:, None] - IQ4_NL_VALUES).argmin(axis=1).astype(np.uint8)
"""The code of IQ4_NL that is nearest to each of `HALVES`; between two codes lie whole numbers of halves."""
NEAREST_VALUE = IQ4_NL_VALUES[NEAREST_CODE].astype(np.float32)


def _halves(x: np.ndarray) -> np.ndarray:
    """Where the nearest of `HALVES` is."""
    return (np.minimum(np.maximum(x, -128), np.float32(127.4)) * 2 + np.float32(256.5)).astype(np.intp)


def _iq4_nl(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    blocks = np.zeros(len(x), IQ4_NL)
    blocks["d"] = finite_half(_scale(x, w, (-127, 113), lambda y: NEAREST_VALUE.take(_halves(y))))
    q = NEAREST_CODE.take(_halves(x * _inverse(blocks["d"])))
    blocks["qs"] = q[:, :16] | q[:, 16:] << 4
    return blocks


def _q6_k(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    x, w = x.reshape(-1, 16, 16), w.reshape(-1, 16, 16)
    wx = w * x
    scale = _scale(x, w, (-32,), lambda y: _whole(y, -32, 31))
    widest = np.take_along_axis(scale, np.abs(scale).argmax(axis=-1, keepdims=True), axis=-1)
    d = finite_half(widest[:, 0] / np.float32(-128)).astype(np.float32)
    steps = _whole(_ratio(scale, d[:, None]), -128, 127)

    def codes(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes, and the error of each group."""
        each = (d[:, None] * steps)[..., None]
        q = _whole(x * _ratio(1, each), -32, 31)
        error = x - each * q
        return q, _sum(w * error, error)

    for _ in range(REFITS):
        near = np.stack([_whole(steps + change, -128, 127) for change in (0, -1, 1)])
        errors = np.stack([codes(tried)[1] for tried in near])
        steps = np.take_along_axis(near, errors.argmin(axis=0)[None], axis=0)[0]
        levels = steps[..., None] * codes(steps)[0]
        fit = _ratio(_sum(wx, levels).sum(axis=-1), _sum(w * levels, levels).sum(axis=-1))
        d = finite_half(np.where(fit != 0, fit, d)).astype(np.float32)
    return pack_q6_k(d, steps, codes(steps)[0])


def _line(x: np.ndarray, w: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The scale and the offset, neither negative, of each group (last axis) with which `scale * q - offset` fits x best
    for codes q of 0 to `most`."""
    least = np.minimum(x.min(axis=-1), 0)
    span = np.maximum(x.max(axis=-1), 0) - least
    wx = w * x
    weights, sums = w.sum(axis=-1), wx.sum(axis=-1)
    # To begin with, all weights of a group are its mean, if that is not above 0.
    offset = np.maximum(-_ratio(sums, weights), 0)
    best, scale = offset * -sums, span / np.float32(most)

    def attempt(step: np.ndarray, start: np.ndarray) -> None:
        nonlocal best, scale, offset
        q = _whole((x + start[..., None]) * _ratio(1, step)[..., None], 0, most)
        wq = w * q
        linear, squares, products = wq.sum(axis=-1), _sum(wq, q), _sum(wx, q)
        determinant = weights * squares - linear * linear
        slope = _ratio(weights * products - linear * sums, determinant)
        base = _ratio(squares * sums - linear * products, determinant)
        through_zero = (base > 0) | (determinant <= SINGULAR * weights * squares)
        slope = np.where(through_zero, _ratio(products, squares), slope)
        base = np.where(through_zero, np.float32(0), base)
        gain = slope * products + base * sums  # by how much the fit lowers the squared error
        better = (gain > best) & (slope > 0)
        best = np.where(better, gain, best)
        scale, offset = np.where(better, slope, scale), np.where(better, -base, offset)

    for share in TRIALS:
        attempt(span * (share / np.float32(most)), -least)
    for share in NARROW:
        attempt(span * (share / np.float32(most)), -least * share)
    for _ in range(ROUNDS):
        attempt(scale, offset)
    return scale, offset


def _affine(x: np.ndarray, w: np.ndarray, most: int) -> tuple[np.ndarray, ...]:
    """d, dmin, scales, mins and codes 0 to `most` of blocks of eight groups (`kquants.pack_affine`)."""
    x, w = x.reshape(-1, 8, 32), w.reshape(-1, 8, 32)
    scale, offset = _line(x, w, most)
    d, dmin = (finite_half(each.max(axis=-1) / np.float32(63)).astype(np.float32) for each in (scale, offset))
    steps, mins = _whole(_ratio(scale, d[:, None]), 0, 63), _whole(_ratio(offset, dmin[:, None]), 0, 63)

    def codes(steps: np.ndarray, mins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes, and the error of each group."""
        each, raised = (d[:, None] * steps)[..., None], x + (dmin[:, None] * mins)[..., None]
        q = _whole(raised * _ratio(1, each), 0, most)
        error = raised - each * q
        return q, _sum(w * error, error)

    for _ in range(REFITS):
        near = [
            (_whole(steps + change, 0, 63), _whole(mins + other, 0, 63))
            for change in (0, -1, 1)
            for other in (0, -1, 1)
        ]
        best = np.stack([codes(*tried)[1] for tried in near]).argmin(axis=0)[None]
        steps, mins = (np.take_along_axis(np.stack(each), best, axis=0)[0] for each in zip(*near, strict=True))
        d, dmin = _two_scales(x, w, steps[..., None] * codes(steps, mins)[0], mins, (d, dmin))
    return d, dmin, steps, mins, codes(steps, mins)[0]


def _two_scales(
    x: np.ndarray, w: np.ndarray, levels: np.ndarray, mins: np.ndarray, before: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """d and dmin of each block with which `d * levels - dmin * mins` fits x best, rounded to float16; those of `before`
    where none fit, or not as formats want them (d above 0, dmin not below it)."""
    wl, wx = w * levels, w * x
    squares, crossed = _sum(wl, levels).sum(axis=-1), -_sum(wl.sum(axis=-1), mins)
    least, up, down = _sum(w.sum(axis=-1), mins * mins), _sum(wx, levels).sum(axis=-1), -_sum(wx.sum(axis=-1), mins)
    determinant = squares * least - crossed * crossed
    d, dmin = _ratio(least * up - crossed * down, determinant), _ratio(squares * down - crossed * up, determinant)
    usable = (determinant > SINGULAR * squares * least) & (d > 0) & (dmin >= 0)
    return (
        finite_half(np.where(usable, d, before[0])).astype(np.float32),
        finite_half(np.where(usable, dmin, before[1])).astype(np.float32),
    )
