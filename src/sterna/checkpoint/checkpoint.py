"""A model read from a file of any format: configuration, tensors, metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from sterna.errors import FormatError, SternaError, listed, warn
from sterna.files.hf_files import TOKENIZER, TOKENIZER_SETTINGS
from sterna.files.regular import open_regular
from sterna.model.config import ModelConfig
from sterna.model.tokenizer import Tokenizer
from sterna.model.validate import check_config, check_tensors
from sterna.tensor.decode import as_float32
from sterna.tensor.summary import one_value
from sterna.tensor.tensor import AnyTensor, Tensor, whole


@dataclass(frozen=True)
class Checkpoint:
    """A checked model.

    `tensors`: by canonical name, norms in float32; those that a file keeps in another form are streams until `load`
    converts them. q and k pair dimensions as `config.rope_style` says. `metadata`: as in the file (GGUF keys, or the
    `config.json` of a folder). `kind`: where the model comes from: `gguf`, `hf` (a Hugging Face folder), `state` (a
    checkpoint of `sterna train`), or `memory`.
    """

    config: ModelConfig
    tensors: Mapping[str, AnyTensor]
    metadata: dict[str, Any]
    path: Path
    kind: str = "memory"
    latent: bool = False
    """Whether float matrices of layers are latent weights, to be quantised."""
    absorbed: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors of the file whose values are in `config`, such as RoPE's divisors; a conversion copies them."""

    def load(self) -> LoadedCheckpoint:
        """The model with every stream converted to a tensor; tensors in a mapped file are not copied.

        Warns of matrices in which all weights are equal, as broken uploads and downloads leave them.
        Raises FormatError and UnsupportedError where a tensor's values are not what its description promises.
        """
        with about(self.path):
            tensors: dict[str, Tensor] = {}
            for name, stream in self.tensors.items():
                tensor = whole(stream)
                tensors[name] = ready_norm(tensor) if len(tensor.shape) == 1 else tensor
            check(self.config, tensors)
        self._warn_of_equal_weights(tensors)
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return LoadedCheckpoint(**{**given, "tensors": tensors})

    def _warn_of_equal_weights(self, tensors: Mapping[str, Tensor]) -> None:
        matrices = (tensor for tensor in tensors.values() if len(tensor.shape) > 1)
        equal = [f"{matrix.name} ({value:g})" for matrix in matrices if (value := one_value(matrix)) is not None]
        if equal:
            warn(
                f"{self.path} has matrices in which all weights are equal, as no model has after training (a broken "
                f"upload or download?): {listed(equal)}."
            )

    @property
    def has_tokenizer(self) -> bool:
        """Whether the model comes with the data of a tokenizer."""
        if self.kind in ("gguf", "memory"):
            return "tokenizer.ggml.tokens" in self.metadata
        return any((self.folder / name).is_file() for name in TOKENIZER)

    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises as `Tokenizer` and `open_regular` do, FormatError where the model has none."""
        if self.kind in ("gguf", "memory"):
            return Tokenizer.from_gguf_metadata(self.metadata)
        for name in TOKENIZER:
            if (self.folder / name).is_file():
                open_regular(
                    self.folder / name
                ).close()  # raises for a pipe, and for a web page or pointer in place of the file
        # A run of `sterna finetune` has the base's tokenizer with its settings, one of `sterna train` a file alone.
        whole = self.kind == "hf" or (self.folder / TOKENIZER_SETTINGS).is_file()
        return Tokenizer(self.folder if whole else self.folder / TOKENIZER[0])

    @property
    def folder(self) -> Path:
        """The folder of the model's files."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def name(self) -> str:
        """The model's own name, or that of its file or folder."""
        given = self.metadata.get("general.name")
        return given if isinstance(given, str) and given else self.path.resolve().stem


@dataclass(frozen=True)
class LoadedCheckpoint(Checkpoint):
    """A model whose tensors are all in memory or mapped: none is a stream."""

    tensors: Mapping[str, Tensor]

    def load(self) -> LoadedCheckpoint:
        return self


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Names the model in the errors that the block raises."""
    try:
        yield
    except SternaError as error:
        raise type(error)(f"{path} cannot be run: {error}") from error


def check(config: ModelConfig, tensors: Mapping[str, AnyTensor]) -> None:
    """Checks configuration and tensors against each other; raises FormatError and UnsupportedError."""
    check_config(config)
    check_tensors(config, tensors)


def ready_norm(tensor: Tensor) -> Tensor:
    """A norm in float32; raises FormatError where it has a value that is not finite."""
    values = as_float32(tensor)
    if not np.isfinite(values.data.view(np.float32)).all():
        raise FormatError(f"The norm {tensor.name!r} has values that are not finite.")
    return values
