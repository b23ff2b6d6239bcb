"""The steps of a pass on a GPU: what one launch of a kernel does, by the names of the plan's slots and weights."""

from __future__ import annotations

from dataclasses import dataclass

from sterna.model.operations import Attention, Hadamard, Norm, Operation, Rope, Rotate


@dataclass(frozen=True)
class EmbedStep:
    """`out` = `factor` times rows of the embedding."""

    out: str
    weight: str
    factor: float


@dataclass(frozen=True)
class RowStep:
    """`out` = x, or f(x) · `up`, then normed and quantised for matrices, where these are given."""

    out: str
    x: str
    up: str | None = None
    activation: str | None = None
    norm: Norm | None = None
    quantize: tuple[str, int] | None = None
    """The activations of `Linear`, and how many columns share a step (0: all)."""


@dataclass(frozen=True)
class NormAddStep:
    """`out` += norm(x)."""

    out: str
    x: str
    norm: Norm


@dataclass(frozen=True)
class LinearStep:
    """Matrices of one layout that read the same slot: one matrix, whose results lie side by side from `out` on."""

    out: str
    x: str
    weights: tuple[str, ...]
    biases: tuple[str | None, ...]
    activations: str
    group_size: int
    residual: bool = False
    """The result is added to what `out` has."""


@dataclass(frozen=True)
class HeadsStep:
    """What comes before an attention: norms and rotations of q and k; k and v go to the cache."""

    attention: Attention
    rope: Rope
    norms: tuple[Norm, ...]
    """Of q and of k, or none."""


@dataclass(frozen=True)
class AttentionStep:
    """An attention over what the cache has."""

    attention: Attention


@dataclass(frozen=True)
class HadamardStep:
    """A rotation of all blocks of a slot."""

    operation: Hadamard


@dataclass(frozen=True)
class RotateStep:
    """The rotations of pairs of columns."""

    operation: Rotate


@dataclass(frozen=True)
class PlainStep:
    """An operation that moves or adds numbers, and is rare: torch does it."""

    operation: Operation


Step = (
    EmbedStep | RowStep | NormAddStep | LinearStep | HeadsStep | AttentionStep | HadamardStep | RotateStep | PlainStep
)


@dataclass(frozen=True)
class Program:
    """The steps of a pass, and the product with the head, whose rows are in the slot `LOGITS`."""

    steps: tuple[Step, ...]
    head: LinearStep


LOGITS = "logits"
"""The slot of the head's results, which no plan has."""
