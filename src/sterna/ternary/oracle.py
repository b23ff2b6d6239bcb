"""A whole ternary decoder in numpy: slow, readable, and what every faster engine is compared with.

The arithmetic is the contract of DESIGN.md: ternary matrices take int8 activations and give exact integer sums, other
matrices take float32 activations, K and V are kept in float16, everything else is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from sterna.ternary.quantize import absmax

Weight = np.ndarray | tuple[np.ndarray, float | np.ndarray]
"""A float matrix, or ternary codes (int8 [out, in]) and their scale, or a scale for every equal share of a
row's columns (float32 [out, shares])."""


class Config(Protocol):
    """What the oracle reads of a model's configuration."""

    @property
    def num_layers(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def rms_norm_eps(self) -> float: ...
    @property
    def input_norm_eps(self) -> float | None: ...
    @property
    def attention_scale(self) -> float: ...
    @property
    def embedding_scale(self) -> float: ...
    @property
    def rope_style(self) -> str: ...
    @property
    def activation(self) -> str: ...
    @property
    def tied_head(self) -> bool: ...
    def rope_frequencies(self, layer: int) -> Sequence[float]: ...


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """`x / sqrt(mean(x²) + eps) * weight` over the last axis (arXiv 1910.07467, equation 4), float32.

    The mean is taken in float64, so that its float32 value depends on no order of summation.
    """
    mean = np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True).astype(np.float32)
    return x * (np.float32(1) / np.sqrt(mean + np.float32(eps))) * weight


def rope(x: np.ndarray, positions: np.ndarray, frequencies: Sequence[float], style: str) -> np.ndarray:
    """Rotate x [n, heads, head_dim] by its positions [n] (RoFormer, arXiv 2104.09864, equation 34).

    Dimension pair i turns by `position * frequencies[i]`. `style` says which dimensions pair up: `half`
    (i with i + head_dim/2) or `interleaved` (2i with 2i + 1). Angles are float64, their cos and sin float32.
    """
    half = x.shape[-1] // 2
    angles = np.asarray(positions, np.float64)[:, None, None] * np.asarray(frequencies, np.float64)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    pairs = {"half": (np.s_[..., :half], np.s_[..., half:]), "interleaved": (np.s_[..., 0::2], np.s_[..., 1::2])}
    first, second = pairs[style]
    out = np.empty_like(x)
    out[first] = x[first] * cos - x[second] * sin
    out[second] = x[second] * cos + x[first] * sin
    return out


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _relu2(x: np.ndarray) -> np.ndarray:
    return np.square(np.maximum(x, 0))


def _silu(x: np.ndarray) -> np.ndarray:
    # exp(-x) overflows to inf for very negative x, which gives the right 0.
    with np.errstate(over="ignore"):
        return x / (1 + np.exp(-x))


def _gelu(x: np.ndarray) -> np.ndarray:
    """The tanh form (arXiv 1606.08415, section 2)."""
    return x / 2 * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3)))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"relu2": _relu2, "silu": _silu, "gelu": _gelu}


class Oracle:
    """The reference model: `config` as `sterna.model.config.ModelConfig`, `weights` by canonical (GGUF) names.

    `activations` is `int8` (the model as trained) or `float` (ternary matrices too take float32 activations).
    `kv_dtype` is what K and V are rounded to (int8: absmax of each head and position); float32 is for comparing with
    engines that keep them so.
    Norms that only some models have (`attn_sub_norm`, `attn_q_norm`, `post_ffw_norm`, `attn_q_norm_in`, ...) apply
    where `weights` has them; embeddings are multiplied by `config.embedding_scale`.
    """

    def __init__(
        self,
        config: Config,
        weights: Mapping[str, Weight],
        activations: str = "int8",
        kv_dtype: type[np.floating | np.int8] = np.float16,
    ) -> None:
        self.config = config
        self.weights = weights
        self.activations = activations
        self.kv_dtype = kv_dtype

    def linear(self, name: str, x: np.ndarray, trace: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """`W @ x` of the matrix `name` (without `.weight`) for each row of x, after its input norm if it has one.

        The int32 sums and activation scales of a ternary matrix go to `trace` as `<name>.sums` and `<name>.scale`.
        """
        x = self._norm(f"{name}_norm_in", x, self.config.input_norm_eps)
        weight = self.weights[f"{name}.weight"]
        if not isinstance(weight, tuple):
            return x @ weight.T
        codes, scale = weight
        if isinstance(scale, np.ndarray):
            return self._block_linear(codes, scale, x)
        if self.activations == "float":
            return x @ codes.T.astype(np.float32) * np.float32(scale)
        quantised, inverse = absmax(x)
        # float64 products of small integers are exact, and far faster in numpy than integer ones.
        sums = (quantised.astype(np.float64) @ codes.T.astype(np.float64)).astype(np.int32)
        if trace is not None:
            trace[f"{name}.sums"], trace[f"{name}.scale"] = sums, inverse
        return sums.astype(np.float32) * (np.float32(scale) / inverse)

    def _block_linear(self, codes: np.ndarray, scales: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The sums of each share of the columns times its scale, added from the first column to the last."""
        values, inverse = absmax(x) if self.activations == "int8" else (x, np.ones((len(x), 1), np.float32))
        out = np.zeros((len(x), len(codes)), np.float32)
        shares = scales.shape[1]
        for part, w, d in zip(np.split(values, shares, 1), np.split(codes, shares, 1), scales.T, strict=True):
            out += (part.astype(np.float64) @ w.T.astype(np.float64)).astype(np.float32) * d
        return out / inverse

    def layer(
        self, index: int, x: np.ndarray, positions: np.ndarray, trace: dict[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """One decoder layer over hidden rows x [n, hidden] of one sequence, at rising `positions` [n].

        With a `trace`, intermediate values are stored in it under canonical names (`blk.0.attn_q`, `blk.0.q`, ...).
        """
        block = f"blk.{index}"
        attended = self._attention(index, self._norm(f"{block}.attn_norm", x), positions, trace)
        x = x + self._norm(f"{block}.post_attention_norm", attended)
        _record(trace, f"{block}.attn_residual", x)
        x = x + self._norm(f"{block}.post_ffw_norm", self._mlp(block, self._norm(f"{block}.ffn_norm", x), trace))
        _record(trace, f"{block}.output", x)
        return x

    def hidden(self, tokens: Sequence[int], trace: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """Hidden rows [n, hidden] before the output norm; layer inputs go to `trace` as `blk.N.input`."""
        embedding = self.weights["token_embd.weight"]
        assert not isinstance(embedding, tuple)
        x = embedding[np.asarray(tokens, np.int64)] * np.float32(self.config.embedding_scale)
        positions = np.arange(len(tokens))
        for index in range(self.config.num_layers):
            _record(trace, f"blk.{index}.input", x)
            x = self.layer(index, x, positions, trace)
        return x

    def logits(self, tokens: Sequence[int], trace: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """Logits float32 [n, vocab] of one causal pass over n token ids."""
        x = self._norm("output_norm", self.hidden(tokens, trace))
        return self.linear("token_embd" if self.config.tied_head else "output", x)

    def _norm(self, name: str, x: np.ndarray, eps: float | None = None) -> np.ndarray:
        weight = self.weights.get(f"{name}.weight")
        if weight is None:
            return x
        assert not isinstance(weight, tuple)
        return rms_norm(x, weight, self.config.rms_norm_eps if eps is None else eps)

    def _attention(
        self, index: int, x: np.ndarray, positions: np.ndarray, trace: dict[str, np.ndarray] | None
    ) -> np.ndarray:
        c, n, block = self.config, len(x), f"blk.{index}"

        def heads(name: str, count: int) -> np.ndarray:
            return self.linear(f"{block}.{name}", x, trace).reshape(n, count, c.head_dim)

        def rotated(name: str, count: int) -> np.ndarray:
            normed = self._norm(f"{block}.{name}_norm", heads(name, count))
            return rope(normed, positions, c.rope_frequencies(index), c.rope_style)

        q = rotated("attn_q", c.num_heads)
        k = rotated("attn_k", c.num_kv_heads)
        v = heads("attn_v", c.num_kv_heads)
        k, v = (rounded(a, self.kv_dtype) for a in (k, v))
        _record(trace, f"{block}.q", q)
        _record(trace, f"{block}.k", k)
        _record(trace, f"{block}.v", v)

        group = c.num_heads // c.num_kv_heads
        k, v = np.repeat(k, group, axis=1), np.repeat(v, group, axis=1)
        scores = np.einsum("qhd,khd->hqk", q, k) * np.float32(c.attention_scale)
        scores = np.where(positions[None, :, None] >= positions[None, None, :], scores, np.float32(-np.inf))
        out = np.einsum("hqk,khd->qhd", softmax(scores), v).reshape(n, -1)
        _record(trace, f"{block}.attention", out)
        return self.linear(f"{block}.attn_output", self._norm(f"{block}.attn_sub_norm", out), trace)

    def _mlp(self, block: str, x: np.ndarray, trace: dict[str, np.ndarray] | None) -> np.ndarray:
        gate = ACTIVATIONS[self.config.activation](self.linear(f"{block}.ffn_gate", x, trace))
        gated = gate * self.linear(f"{block}.ffn_up", x, trace)
        _record(trace, f"{block}.gated", gated)
        return self.linear(f"{block}.ffn_down", self._norm(f"{block}.ffn_sub_norm", gated), trace)


def rounded(x: np.ndarray, dtype: type[np.floating | np.signedinteger]) -> np.ndarray:
    """Float32 values of x after a stay in `dtype`; integers have a scale, max|x| / their largest, for each row of the
    last axis."""
    if issubclass(dtype, np.floating):
        return x.astype(dtype).astype(np.float32)
    largest, limit = np.abs(x).max(axis=-1, keepdims=True), np.float32(np.iinfo(dtype).max)
    largest = np.maximum(largest, np.float32(1e-30))
    return np.rint(x * (limit / largest)) * (largest / limit)


def _record(trace: dict[str, np.ndarray] | None, name: str, value: np.ndarray) -> None:
    if trace is not None:
        trace[name] = value
