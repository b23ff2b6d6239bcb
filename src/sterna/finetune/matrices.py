"""Names of matrices in a config: `attn_q`, as GGUF files call them, or `q_proj`, as folders do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sterna.checkpoint.adapters.adapter import HEAD
from sterna.errors import ArgumentError
from sterna.model.architecture import MATRICES
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig


@dataclass(frozen=True)
class Matrix:
    """A matrix of a model: its canonical name, that of its module in folders, and its shape [out, in]."""

    name: str
    module: str
    shape: tuple[int, ...]

    @property
    def layer(self) -> int | None:
        """The layer that it belongs to; None for the head."""
        return None if self.name == HEAD else int(self.name.split(".")[1])

    def is_called(self, wanted: str) -> bool:
        """Whether `wanted` is its name, or the end of one behind a dot; `all` are the matrices of layers."""
        if wanted == "all":
            return self.layer is not None
        return any(f".{known}".endswith(f".{wanted}") for known in (self.name.removesuffix(".weight"), self.module))


def matrices_of(config: ModelConfig) -> list[Matrix]:
    """The matrices that linear operations of a model multiply, and the head, also where that is the embedding."""
    architecture = architecture_of(config)
    folders = architecture.hf_names(config.num_layers)
    shapes = {
        f"blk.{layer}.{name}": shape
        for layer in range(config.num_layers)
        for name, shape in architecture.layer_shapes(config, layer).items()
        if name.removesuffix(".weight") in MATRICES
    }
    shapes[HEAD] = config.vocab_size, config.hidden_size
    return [Matrix(name, folders[name][0].removesuffix(".weight"), shape) for name, shape in shapes.items()]


def check_names(config: ModelConfig, key: str, names: Sequence[str], layers_key: str, layers: Sequence[int]) -> None:
    """Raises ArgumentError for names of matrices under `key` and numbers of layers under `layers_key` that the model
    does not have."""
    strange = [layer for layer in layers if not 0 <= layer < config.num_layers]
    if strange:
        raise ArgumentError(f"{layers_key} names the layer {strange[0]}; the model has {config.num_layers}.")
    matrices = matrices_of(config)
    unused = [name for name in names if not any(matrix.is_called(name) for matrix in matrices)]
    if unused:
        raise ArgumentError(f"{key} names {unused[0]!r}; choose all, output, {', '.join(MATRICES)}.")
