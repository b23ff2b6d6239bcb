"""Mode `lora`: an adapter is trained beside a model that stays packed, and is written as adapters are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.adapters import read_adapter
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, UnsupportedError
from sterna.files.sizes import readable
from sterna.finetune.data.batches import Part
from sterna.finetune.inputs import Inputs
from sterna.finetune.lora import AdaptedDecoder, base_bytes, peak_memory, prepare, save_adapter
from sterna.finetune.loss import CHUNK
from sterna.finetune.modes.merge import Merge
from sterna.finetune.task import Data, FineTuning
from sterna.train.checkpoints import Checkpoints
from sterna.train.distributed import started_processes
from sterna.train.export import Exports


class Lora:
    """A `sterna.finetune.modes.mode.Mode`."""

    def __init__(self, inputs: Inputs) -> None:
        """Raises ArgumentError for settings that packed matrices do not have, UnsupportedError for a base that cannot
        be trained so, what `LoraSection.sites` and `Merge` raise, and what `read_adapter` does for `lora.init`."""
        self.inputs, self.lora = inputs, inputs.config.lora
        training = inputs.config.training
        if inputs.device.type != "cpu":
            raise ArgumentError('training.device must be "cpu" with mode = "lora", where matrices stay packed.')
        if training.precision != "fp32":
            raise ArgumentError('training.precision must be "fp32" with mode = "lora", where matrices stay packed.')
        if started_processes() > 1:
            raise ArgumentError('mode = "lora" trains in one process: start it without torchrun.')
        if training.context > self.base.config.context_length:
            raise ArgumentError(f"training.context is at most {self.base.config.context_length} with this base.")
        matrices = [tensor for name, tensor in self.base.tensors.items() if name.startswith("blk.")]
        if self.base.latent and any(len(tensor.shape) == 2 and tensor.encoding.is_float for tensor in matrices):
            raise UnsupportedError(f"{self.base.path} has latent weights: convert it first (sterna convert).")
        self.sizes = self._sizes()
        self.following = Merge(inputs, self.sizes) if inputs.config.export.merge == "qat" else None

    @cached_property
    def base(self) -> Checkpoint:
        """The base as the engine opens it: latent weights become ternary."""
        return open_checkpoint(self.inputs.base.path)

    @property
    def init(self) -> str:
        """The adapter to begin with; a path is relative to the TOML file."""
        beside = self.inputs.folder / self.lora.init
        return str(beside) if self.lora.init and beside.exists() else self.lora.init

    @property
    def origin(self) -> dict[str, object]:
        return {"model": asdict(self.base.config), "lora": asdict(self.lora)}

    def new_model(self) -> AdaptedDecoder:
        return prepare(self.base, self.lora, self.inputs.config.training.seed, self.init)

    def empty_model(self) -> AdaptedDecoder:
        return self.new_model()

    def task(self, model: AdaptedDecoder, data: Data, recorded: Mapping[str, Any] | None = None) -> FineTuning:
        return _Tuning(self.inputs.config, model, data)

    def _sizes(self) -> dict[str, int]:
        """How many numbers the adapter has for each matrix, by the matrix's name."""
        if self.init:
            updates = read_adapter(self.init, self.base.config).updates
            return {name: low.a.size + low.b.size for name, low in updates.items()}
        return {site.name: site.parameters for site in self.lora.sites(self.base.config)}

    @property
    def parameters(self) -> int:
        """How many numbers the adapter has."""
        return sum(self.sizes.values())

    @property
    def _peak(self) -> dict[str, int]:
        training = self.inputs.config.training
        tokens = training.batch_size // training.accumulation * training.context
        return peak_memory(self.base.config, self.parameters, tokens, base_bytes(self.base.tensors), CHUNK)

    def memory(self) -> int:
        return max(sum(self._peak.values()), 0 if self.following is None else self.following.memory())

    def describe(self) -> list[str]:
        parts = ", ".join(f"{name} {readable(size)}" for name, size in self._peak.items())
        return [
            f"model:  {self.base.config.architecture}, packed; an adapter of {self.parameters:,} parameters",
            f"peak:   {parts}",
            *([] if self.following is None else self.following.announce()),
        ]

    def export(self, model: AdaptedDecoder, checkpoints: Checkpoints) -> Exports:
        name, output, wanted = self.inputs.config.name, self.inputs.output, self.inputs.config.export
        done = Exports()
        done.hf, done.gguf = save_adapter(model, self.base, output, name)
        if wanted.merge == "float":
            _merge(self.base.path, done.hf, output / f"{name}-merged.gguf", wanted.gguf or "f16")
        return done


def _merge(base: Path, adapter: Path, dst: Path, encoding: str) -> None:
    """Writes the base with the adapter added to its matrices, in float."""
    convert(base, dst, type=encoding, lora={str(adapter): 1.0}, force=True)


class _Tuning(FineTuning):
    """The answers' loss; what dropout leaves out depends on the seed and the step alone, so that a run can resume."""

    def parts(self, step: int) -> Iterator[Part]:
        torch.manual_seed(self._config.training.seed * 1_000_003 + step)
        yield from super().parts(step)
