"""The operations of a plan and their mathematics, one class each. Every engine (CPU, browser, GPU) and the numpy oracle
run them.

A slot holds one float32 row a token; `out` is the slot that an operation writes. `norm`, `rope`, `gated`, `add`,
`scale`, `hadamard`, `rotate` and `standardize` may write a slot that they read.

`conv` and `deltarule` keep a state of each sequence, as `attention` keeps keys and values: their rows depend on all
tokens before, and a sequence begins with a state of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, get_args

Slot = NewType("Slot", str)
"""The name of a slot."""
Weight = NewType("Weight", str)
"""The name of a tensor."""

ACTIVATIONS = ("none", "int8", "int15")
"""How `Linear` quantises its input; see there."""


@dataclass(frozen=True)
class Embed:
    """`out[t] = weight[token_t]`, weight `[vocab_size, width]`, its row decoded to float32."""

    out: Slot
    weight: Weight


@dataclass(frozen=True)
class Norm:
    """RMSNorm (arXiv 1910.07467, equation 4): `out = x / sqrt(mean(x²) + eps) * weight`.

    x `[width]` is `heads` equal parts; each has a mean of its own, and all share the weight `[width / heads]`.
    """

    out: Slot
    x: Slot
    weight: Weight
    eps: float
    heads: int = 1


@dataclass(frozen=True)
class Standardize:
    """LayerNorm without weights (arXiv 1607.06450, equation 3): `out = (x - m) / sqrt(mean((x - m)²) + eps)`, m the
    mean of x."""

    out: Slot
    x: Slot
    eps: float


@dataclass(frozen=True)
class Linear:
    """`out = W · x + bias`, weight W `[out_features, in_features]`, bias `[out_features]` or none.

    `activations` says how x is quantised first:
    - `none`: not at all; products and sums are in float32.
    - `int8`: `s = 127 / max(max|x|, 1e-5)`, `q = clip(round(x · s), -128, 127)` (absmax, arXiv 2402.17764).
    - `int15`: `s = 16256 / max(max|x|, 1e-5)`, `q = clip(round(x · s), -16256, 16256)`.
    Halves round to even. `group_size` columns share an s; 0: all of them do.

    Let d be the scale of W's codes w (less their zero point, if they have one), one for all or one for every group of
    columns. The sum `n = Σ w · q` over columns that share both scales is exact; these sums are then added in float32
    from the first group of columns to the last:
    - one s: `out = (Σ n_g · d_g) · (1 / s)`; with one d, `n · (d / s)`.
    - an s for every group: `out = Σ n_g · (d_g · (1 / s_g))`.
    """

    out: Slot
    x: Slot
    weight: Weight
    bias: Weight | None = None
    activations: str = "none"
    group_size: int = 0


@dataclass(frozen=True)
class Rope:
    """Rotary embedding (arXiv 2104.09864, equation 34): in each of `heads` equal parts of x, the pair i of dimensions
    (a, b) becomes `(a cos - b sin, b cos + a sin)` with the angle `position · frequencies[i]`.

    `style`: pairs are (i, i + half) in `half`, (2i, 2i + 1) in `interleaved`; dimensions past the last pair stay.
    `frequencies` names a list of the plan, in radians a position. Angles are float64; cos and sin are rounded to
    float32.
    """

    out: Slot
    x: Slot
    heads: int
    style: str
    frequencies: str


@dataclass(frozen=True)
class Attention:
    """Causal attention: k and v `[kv_heads, head_dim]` are first kept in `layer` of the cache group `cache`, then

        out[h] = Σ_p softmax_p(scale · q[h] · k_p[h']) · v_p[h']

    for each of `heads` query heads h of q, over the positions p up to the token's own, and only the last `window` of
    them where the group has a window. `heads / kv_heads` consecutive query heads share a key and value head h'.
    """

    out: Slot
    q: Slot
    k: Slot
    v: Slot
    cache: str
    layer: int
    heads: int
    scale: float


@dataclass(frozen=True)
class Gated:
    """`out = f(gate) * up`, f: `relu2` (`max(x, 0)²`), `silu` (`x / (1 + e^-x)`), `sigmoid` (`1 / (1 + e^-x)`), or
    `gelu` in its tanh form (arXiv 1606.08415, section 2)."""

    out: Slot
    gate: Slot
    up: Slot
    activation: str


@dataclass(frozen=True)
class Add:
    """`out = x + y`."""

    out: Slot
    x: Slot
    y: Slot


@dataclass(frozen=True)
class Scale:
    """`out = factor * x`."""

    out: Slot
    x: Slot
    factor: float


@dataclass(frozen=True)
class Hadamard:
    """The normalised Walsh-Hadamard transform H of each run of `block` columns, in natural (Sylvester's) order:
    `H[r][c] = (-1)^popcount(r & c) / sqrt(block)`, `block` a power of two. It is its own inverse.

    `direction`: `forward` is `out = H(s · x)`, `inverse` is `out = s · H(x)`. `signs` names a list s of the plan, 1 or
    -1 for each column; None: all are 1.
    """

    out: Slot
    x: Slot
    block: int
    direction: str
    signs: str | None = None


@dataclass(frozen=True)
class Rotate:
    """Pairwise rotation (ParoQuant, arXiv 2511.10645, section 3): the columns x, multiplied by `scales` `[width]`, pass
    through K rotations, one after the other. Rotation k has `width / 2` disjoint pairs of columns,
    `(i, j) = pairs[k, 2m], pairs[k, 2m + 1]`, and for each an angle `t = angles[k, m]` in radians, whose cosine and
    sine are rounded to float32:

        (x_i, x_j) = (cos t · x_i + sin t · x_j, cos t · x_j - sin t · x_i)

    These are the signs of the authors' kernels; equation 4 of the paper has the others. `pairs` `[K, width]` are whole
    numbers, each row of them a permutation of all columns; `angles` are `[K, width / 2]`. Without both, x is scaled.
    """

    out: Slot
    x: Slot
    scales: Weight
    angles: Weight | None = None
    pairs: Weight | None = None


@dataclass(frozen=True)
class Permute:
    """Columns in another order: `out[k] = x[order[k]]`, order `[width]` whole numbers, a permutation."""

    out: Slot
    x: Slot
    order: Weight


@dataclass(frozen=True)
class Slice:
    """Part of each of `heads` equal parts of x: `out[h] = x[h][start : start + n]`, where out is `heads` parts of n
    values."""

    out: Slot
    x: Slot
    heads: int
    start: int


@dataclass(frozen=True)
class Transpose:
    """Equal parts of x in another order: `out[j, i] = x[i, j]`, x `[rows, columns, n]`, out `[columns, rows, n]`."""

    out: Slot
    x: Slot
    rows: int
    columns: int


@dataclass(frozen=True)
class Conv:
    """A causal convolution of each column, then SiLU: `out_t = silu(Σ_j weight[:, j] · x_(t - n + 1 + j))`, weight
    `[width, n]`, j from 0 to n - 1; x is zero before the sequence begins.

    The state, in `layer` of the state group `states`, is the last n - 1 rows of x.
    """

    out: Slot
    x: Slot
    weight: Weight
    states: str
    layer: int


@dataclass(frozen=True)
class DeltaRule:
    """The gated delta rule (arXiv 2412.06464, equation 10). x is q, k `[key_heads, key_dim]` and v
    `[value_heads, value_dim]`, one after the other; a and b are `[value_heads]`. q and k are first scaled to

        q / sqrt(Σ q² + 1e-6) / sqrt(key_dim)    k / sqrt(Σ k² + 1e-6)

    head by head. Then each value head updates its state S `[key_dim, value_dim]`, which decays before it is read:

        g = decay · ln(1 + e^(a + bias))    β = 1 / (1 + e^-b)
        S' = e^g · S    δ = β · (v - S'ᵀ · k)    S = S' + k · δᵀ    out = Sᵀ · q

    `decay` (at most 0) and `bias` have one number for each value head. Value head h reads the key head
    `h div (value_heads / key_heads)` in the order `grouped`, `h mod key_heads` in the order `tiled`.

    The state is in `layer` of the state group `states`. Engines compute blocks of 64 positions from the state S at the
    block's beginning: with G_i the sum of g from there to row i,

        δ_i = β_i · (v_i - e^G_i · Sᵀ · k_i - Σ_(j < i) e^(G_i - G_j) · (k_j · k_i) · δ_j)
        out_i = e^G_i · Sᵀ · q_i + Σ_(j <= i) e^(G_i - G_j) · (k_j · q_i) · δ_j
    """

    out: Slot
    x: Slot
    a: Slot
    b: Slot
    decay: Weight
    bias: Weight
    states: str
    layer: int
    order: str


Operation = (
    Embed
    | Norm
    | Standardize
    | Linear
    | Rope
    | Attention
    | Gated
    | Add
    | Scale
    | Hadamard
    | Rotate
    | Permute
    | Slice
    | Transpose
    | Conv
    | DeltaRule
)

KINDS: dict[str, type[Operation]] = {kind.__name__.lower(): kind for kind in get_args(Operation)}
"""The operations by the name that they have in JSON."""


def _fields(role: str) -> dict[type, tuple[str, ...]]:
    """The fields of each operation whose annotation, a string here, is `role` or `role | None`."""
    return {
        kind: tuple(name for name, hint in kind.__annotations__.items() if role in hint.split(" | "))
        for kind in KINDS.values()
    }


_SLOTS, _WEIGHTS = _fields("Slot"), _fields("Weight")


def reads(operation: Operation) -> list[str]:
    """The slots that an operation reads."""
    return [getattr(operation, name) for name in _SLOTS[type(operation)] if name != "out"]


def weights(operation: Operation) -> list[str]:
    """The tensors that an operation needs."""
    names = (getattr(operation, name) for name in _WEIGHTS[type(operation)])
    return [name for name in names if name is not None]
