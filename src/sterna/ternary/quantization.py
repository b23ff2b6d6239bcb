"""How a model is quantised while it is trained; a state of training records it, and its export follows it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sterna.ternary.groups import GroupQuantizer

WEIGHTS = ("ternary", "binary", "float")
ACTIVATIONS = ("int8", "float", "a4.8")


@dataclass(frozen=True)
class Quantization:
    """What the matrices of a model's layers are multiplied as, and what their inputs are."""

    weights: str = "ternary"
    """`ternary` (absmean of BitNet b1.58, arXiv 2402.17764), `binary` (BitNet, arXiv 2310.11453) or `float`, which
    quantises nothing."""
    groups: GroupQuantizer | None = None
    """The quantiser of weights with a scale for each group of columns; None: a matrix has one scale."""
    activations: str = "int8"
    """`int8` (absmax of each token), `float`, or `a4.8` (BitNet a4.8, arXiv 2411.04965): 4 bits before attention and
    feed-forward, 8 bits before the output projections."""
    embedding: bool = False
    """Whether the embedding, and a head of its own, are made ternary in `groups`, too."""
    kept: tuple[str, ...] = ()
    """The canonical names of the matrices of layers that are not quantised."""

    def of(self, name: str) -> Quantization:
        """The quantisation of one matrix of a layer, by its canonical name."""
        return Quantization("float", activations="float") if name in self.kept else replace(self, kept=())

    def __post_init__(self) -> None:
        """Raises ValueError where the parts do not fit together."""
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights are {', '.join(WEIGHTS[:-1])} or {WEIGHTS[-1]}, not {self.weights!r}")
        if self.activations not in ACTIVATIONS:
            raise ValueError(
                f"activations are {', '.join(ACTIVATIONS[:-1])} or {ACTIVATIONS[-1]}, not {self.activations!r} (FP4 "
                "activations and the KV cache of 3 bits of BitNet a4.8 are not trained)"
            )
        if self.activations != "float" and (self.weights == "float" or self.groups is not None):
            kind = "float weights" if self.weights == "float" else "weights in groups"
            raise ValueError(f"{kind} take float activations, not {self.activations}")
        if self.activations == "a4.8" and self.weights != "ternary":
            raise ValueError("a4.8 activations are those of ternary weights")
        if self.weights == "float" and self.groups is not None:
            raise ValueError("float weights have no groups")
        if self.embedding and self.groups is None:
            raise ValueError("an embedding is made ternary in groups alone")
