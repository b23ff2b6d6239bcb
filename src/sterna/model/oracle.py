"""Runs a plan in numpy: slow and readable, the reference that every engine is compared with.

It interprets the JSON of a plan; each operation has one function, with the mathematics of `model/operations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sterna.model.operations import (
    Add,
    Attention,
    Conv,
    DeltaRule,
    Embed,
    Gated,
    Hadamard,
    Linear,
    Norm,
    Operation,
    Permute,
    Rope,
    Rotate,
    Scale,
    Slice,
    Standardize,
    Transpose,
    reads,
)
from sterna.model.plan import Plan
from sterna.tensor.decode import Values
from sterna.ternary.quantize import absmax

INT15_LIMIT = np.float32(16256)


@dataclass(frozen=True)
class Step:
    """One operation of a pass, with its inputs by slot and its output, float32 [n, width]."""

    operation: Operation
    inputs: dict[str, np.ndarray]
    out: np.ndarray


class Oracle:
    """The reference model: `plan` as `Plan.to_dict` gives it, `weights` by canonical names (`tensor_values`).

    `kv_dtype` is the type that keys and values are rounded to (int8: absmax of each head and position).
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        weights: Mapping[str, Values],
        kv_dtype: type[np.floating | np.int8] = np.float16,
    ) -> None:
        self.plan = Plan.from_dict(plan)
        self.weights = weights
        self.kv_dtype = kv_dtype

    def steps(self, tokens: Sequence[int]) -> Iterator[Step]:
        """The operations of one causal pass over n token ids, in order, each when it is done."""
        slots: dict[str, np.ndarray] = {}
        ids, positions = np.asarray(tokens, np.int64), np.arange(len(tokens))
        for operation in self.plan.operations:
            inputs = {name: slots[name] for name in reads(operation)}
            slots[operation.out] = self._do(operation, inputs, ids, positions)
            yield Step(operation, inputs, slots[operation.out])

    def hidden(self, tokens: Sequence[int]) -> np.ndarray:
        """The output slot's rows [n, hidden_size]."""
        rows = [step.out for step in self.steps(tokens) if step.operation.out == self.plan.output]
        return rows[-1]

    def logits(self, tokens: Sequence[int]) -> np.ndarray:
        """Logits float32 [n, vocab_size] of one causal pass over n token ids."""
        head = self.plan.head
        return linear(self.weights[head.weight], self.hidden(tokens), head.activations, head.group_size)

    def _do(
        self, operation: Operation, slots: Mapping[str, np.ndarray], tokens: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        plan, weights = self.plan, self.weights
        match operation:
            case Embed(weight=name):
                return _floats(weights[name])[tokens]
            case Norm(x=x, weight=name, eps=eps, heads=heads):
                parts = slots[x].reshape(len(tokens), heads, -1)
                return rms_norm(parts, _floats(weights[name]), eps).reshape(len(tokens), -1)
            case Linear(x=x, weight=name, bias=bias, activations=activations, group_size=group_size):
                out = linear(weights[name], slots[x], activations, group_size)
                return out if bias is None else out + _floats(weights[bias])
            case Rope(x=x, heads=heads, style=style, frequencies=name):
                parts = slots[x].reshape(len(tokens), heads, -1)
                return rope(parts, positions, plan.frequencies[name], style).reshape(len(tokens), -1)
            case Attention(q=q, k=k, v=v, cache=cache, heads=heads, scale=scale):
                group = plan.caches[cache]
                query = slots[q].reshape(-1, heads, group.head_dim)
                keys, values = (
                    rounded(slots[name].reshape(-1, group.kv_heads, group.head_dim), self.kv_dtype) for name in (k, v)
                )
                return attention(query, keys, values, positions, scale, group.window).reshape(len(tokens), -1)
            case Gated(gate=gate, up=up, activation=name):
                return GATES[name](slots[gate]) * slots[up]
            case Add(x=x, y=y):
                return slots[x] + slots[y]
            case Scale(x=x, factor=factor):
                return slots[x] * np.float32(factor)
            case Hadamard(x=x, block=block, direction=direction, signs=name):
                signs = np.float32(1) if name is None else np.asarray(plan.signs[name], np.float32)
                forward = direction == "forward"
                return hadamard(slots[x] * signs, block) if forward else hadamard(slots[x], block) * signs
            case Rotate(x=x, scales=scales, angles=angles, pairs=pairs):
                scaled = slots[x] * _floats(weights[scales])
                if angles is None or pairs is None:
                    return scaled
                return rotate(scaled, _floats(weights[angles]), _floats(weights[pairs]))
            case Permute(x=x, order=name):
                return slots[x][:, _floats(weights[name]).astype(np.int64)]
            case Standardize(x=x, eps=eps):
                return standardize(slots[x], eps)
            case Slice(out=out, x=x, heads=heads, start=start):
                stop = start + plan.slots[out] // heads
                return slots[x].reshape(len(tokens), heads, -1)[:, :, start:stop].reshape(len(tokens), -1)
            case Transpose(x=x, rows=rows, columns=columns):
                return slots[x].reshape(len(tokens), rows, columns, -1).swapaxes(1, 2).reshape(len(tokens), -1)
            case Conv(x=x, weight=name):
                return conv(slots[x], _floats(weights[name]))
            case DeltaRule():
                return self._delta_rule(operation, slots)

    def _delta_rule(self, operation: DeltaRule, slots: Mapping[str, np.ndarray]) -> np.ndarray:
        shape, rows = self.plan.states[operation.states], slots[operation.x]
        keys = shape.key_heads * shape.key_dim
        q, k, v = np.split(rows, [keys, 2 * keys], axis=1)
        q, k = (_by_value_head(part, shape.key_heads, shape.value_heads, operation.order) for part in (q, k))
        softplus = np.logaddexp(np.float32(0), slots[operation.a] + _floats(self.weights[operation.bias]))
        log_decay = softplus * _floats(self.weights[operation.decay])
        v = v.reshape(len(rows), shape.value_heads, -1)
        return delta_rule(q, k, v, log_decay, _sigmoid(slots[operation.b])).reshape(len(rows), -1)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """`x / sqrt(mean(x²) + eps) * weight` over the last axis, float32.

    The mean is taken in float64, so that its float32 value does not depend on the order of summation.
    """
    mean = np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True).astype(np.float32)
    return x * (np.float32(1) / np.sqrt(mean + np.float32(eps))) * weight


def standardize(x: np.ndarray, eps: float) -> np.ndarray:
    """`(x - mean) / sqrt(variance + eps)` over the last axis, in float64, rounded to float32."""
    difference = x - np.mean(x, axis=-1, keepdims=True, dtype=np.float64)
    variance = np.mean(np.square(difference), axis=-1, keepdims=True)
    return (difference / np.sqrt(variance + eps)).astype(np.float32)


def linear(weight: Values, x: np.ndarray, activations: str = "none", group_size: int = 0) -> np.ndarray:
    """`W · x` for each row of x [n, in], as `operations.Linear` says; float32 [n, out]."""
    if activations == "none":
        return x @ _floats(weight).T
    codes, scales = weight if isinstance(weight, tuple) else (weight, 1.0)
    groups = x.shape[1] // group_size if group_size else 1
    q, s = quantize(x.reshape(len(x), groups, -1), activations)  # [n, groups, columns], [n, groups]
    q = q.reshape(x.shape)
    d = np.asarray(scales, np.float32)
    if groups == 1 and d.ndim == 0:
        return _exact(q, codes) * (d / s)
    d = np.full((len(codes), 1), d) if d.ndim == 0 else d
    shares = max(groups, d.shape[1])  # each share of the columns has one s and one d
    s_of, d_of = np.repeat(s, shares // groups, axis=1), np.repeat(d, shares // d.shape[1], axis=1)
    out = np.zeros((len(x), len(codes)), np.float32)
    for part, w, s_g, d_g in zip(np.split(q, shares, 1), np.split(codes, shares, 1), s_of.T, d_of.T, strict=True):
        out += _exact(part, w) * (d_g if groups == 1 else d_g * (np.float32(1) / s_g[:, None]))
    return out * (np.float32(1) / s) if groups == 1 else out


def _exact(q: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """`q · codesᵀ` of whole numbers, exact before it is rounded to float32: numpy is far faster in float64 than in
    integers."""
    return (q.astype(np.float64) @ codes.T.astype(np.float64)).astype(np.float32)


def quantize(x: np.ndarray, activations: str) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers q of x [..., group] by absmax, in `int8` or `int15`, and their scales s [...]: `x ≈ q / s`."""
    if activations == "int8":
        codes, scale = absmax(x)
        return codes, scale[..., 0]
    largest = np.maximum(np.abs(x).max(axis=-1), np.float32(1e-5))
    scale = INT15_LIMIT / largest
    return np.clip(np.rint(x * scale[..., None]), -INT15_LIMIT, INT15_LIMIT).astype(np.int16), scale


def rope(x: np.ndarray, positions: np.ndarray, frequencies: Sequence[float], style: str) -> np.ndarray:
    """Rotates x [n, heads, head_dim] by its positions [n], as `operations.Rope` says."""
    pairs = len(frequencies)
    angles = np.asarray(positions, np.float64)[:, None, None] * np.asarray(frequencies, np.float64)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = {
        "half": (np.s_[..., :pairs], np.s_[..., pairs : 2 * pairs]),
        "interleaved": (np.s_[..., 0 : 2 * pairs : 2], np.s_[..., 1 : 2 * pairs : 2]),
    }[style]
    out = x.copy()
    out[first] = x[first] * cos - x[second] * sin
    out[second] = x[second] * cos + x[first] * sin
    return out


def hadamard(x: np.ndarray, block: int) -> np.ndarray:
    """The transform of each run of `block` columns of x [n, width], as `operations.Hadamard` says."""
    rows, step = x.reshape(-1, block), 1
    while step < block:
        pairs = rows.reshape(len(rows), -1, 2, step)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(-1, block)
        step *= 2
    return (rows * np.float32(block**-0.5)).reshape(x.shape)


def rotate(x: np.ndarray, angles: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The rotations of pairs of columns of x [n, width], by angles [K, width / 2], as `operations.Rotate` says."""
    x, t = x.copy(), angles.astype(np.float64)
    for cos, sin, columns in zip(
        np.cos(t).astype(np.float32), np.sin(t).astype(np.float32), pairs.astype(int), strict=True
    ):
        i, j = columns[0::2], columns[1::2]
        x[:, i], x[:, j] = cos * x[:, i] + sin * x[:, j], cos * x[:, j] - sin * x[:, i]
    return x


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, positions: np.ndarray, scale: float, window: int | None
) -> np.ndarray:
    """Causal attention of q [n, heads, head_dim] over k and v [n, kv_heads, head_dim] at rising positions [n]."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
    scores = np.einsum("qhd,khd->hqk", q, k) * np.float32(scale)
    distance = positions[:, None] - positions[None, :]
    seen = (distance >= 0) & (distance < (window or len(q) + 1))
    return np.einsum("hqk,khd->qhd", softmax(np.where(seen, scores, np.float32(-np.inf))), v)


def conv(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The causal convolution of the columns of x [n, width] with weight [width, positions], and SiLU of it."""
    positions = weight.shape[1]
    padded = np.pad(x, ((positions - 1, 0), (0, 0)))
    total: np.ndarray = sum(padded[j : j + len(x)] * weight[:, j] for j in range(positions))
    return _silu(total)


def delta_rule(q: np.ndarray, k: np.ndarray, v: np.ndarray, log_decay: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """The gated delta rule from a state of zeros on, token by token, as `operations.DeltaRule` says.

    q and k [n, heads, key_dim], v [n, heads, value_dim], log_decay and beta [n, heads]; [n, heads, value_dim].
    """
    q = q / np.sqrt(np.square(q).sum(axis=-1, keepdims=True) + np.float32(1e-6)) * np.float32(q.shape[-1] ** -0.5)
    k = k / np.sqrt(np.square(k).sum(axis=-1, keepdims=True) + np.float32(1e-6))
    state, out = np.zeros((*k.shape[1:], v.shape[2]), np.float32), np.empty_like(v)
    for t in range(len(q)):
        state *= np.exp(log_decay[t])[:, None, None]
        delta = beta[t][:, None] * (v[t] - np.einsum("hkv,hk->hv", state, k[t]))
        state += k[t][:, :, None] * delta[:, None, :]
        out[t] = np.einsum("hkv,hk->hv", state, q[t])
    return out


def _by_value_head(x: np.ndarray, key_heads: int, value_heads: int, order: str) -> np.ndarray:
    """Keys or queries [n, key_heads * key_dim] as the value heads read them: [n, value_heads, key_dim]."""
    heads = np.arange(value_heads)
    read = heads % key_heads if order == "tiled" else heads // (value_heads // key_heads)
    return x.reshape(len(x), key_heads, -1)[:, read]


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rounded(x: np.ndarray, dtype: type[np.floating | np.signedinteger]) -> np.ndarray:
    """x rounded to `dtype` and back to float32; integers have a scale for each row of the last axis, max|x| / the
    largest integer."""
    if issubclass(dtype, np.floating):
        return x.astype(dtype).astype(np.float32)
    largest, limit = np.abs(x).max(axis=-1, keepdims=True), np.float32(np.iinfo(dtype).max)
    largest = np.maximum(largest, np.float32(1e-30))
    return np.rint(x * (limit / largest)) * (largest / limit)


def _relu2(x: np.ndarray) -> np.ndarray:
    return np.square(np.maximum(x, 0))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    # exp(-x) overflows to inf for very negative x, which gives the right 0.
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def _silu(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # as in `_sigmoid`
        return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return x / 2 * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3)))


GATES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu2": _relu2,
    "silu": _silu,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
}


def _floats(values: Values) -> np.ndarray:
    """A tensor's float32 values."""
    if not isinstance(values, tuple):
        return values
    codes, scales = values
    if not isinstance(scales, np.ndarray):
        return codes.astype(np.float32) * np.float32(scales)
    grouped: np.ndarray = codes.reshape(*scales.shape, -1) * scales[..., None]
    return grouped.reshape(codes.shape)
