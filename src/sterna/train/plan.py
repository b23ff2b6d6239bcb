"""Checks a training run before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sterna.checkpoint.state import QUANTIZATION
from sterna.engine.machine import available_memory
from sterna.errors import ArgumentError, UnsupportedError
from sterna.files.sizes import readable
from sterna.train.checkpoints import Checkpoints, FoundState
from sterna.train.config import RunConfig, load_config
from sterna.train.corpus import document_parts
from sterna.train.data import corpus_inputs
from sterna.train.device import usable_device
from sterna.train.evaluation import beginning
from sterna.train.export import refusals
from sterna.train.model import Block, Decoder
from sterna.train.sources import Rows, source
from sterna.train.state import CONFIG


@dataclass(frozen=True)
class Plan:
    """A checked config, what was found out about its inputs, and the step from which its run goes on."""

    config: RunConfig
    base: Path
    """The folder of the TOML file; the paths in it are relative to this folder."""
    device: torch.device
    inputs: dict[str, Any]
    """What `corpus_inputs` says about the training files."""
    valid_beginning: list[list[str]]
    """The beginning of the held-out texts, in parts, `training.eval_bytes` long; it is scored during the run."""
    found: FoundState | None = None
    """The state in the output folder from which the run goes on; None: it begins anew."""

    @property
    def output(self) -> Path:
        return self.base / self.config.output

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.output)

    @property
    def step(self) -> int:
        """The step from which the run goes on."""
        return self.found.saved.step if self.found is not None else 0

    @property
    def notes(self) -> list[str]:
        """Sentences for people about what they may not expect."""
        model, quantization = self.config.model.model_config(), self.config.quantization.quantization()
        return [
            *(self.found.notes if self.found is not None else []),
            *(f"The run's export will be refused: {sentence}" for sentence in refusals(model, quantization)),
        ]

    @property
    def valid(self) -> list[Path | Rows]:
        return [source(self.base, name) for name in self.config.data.valid]

    def origin(self, stamp: dict[str, object]) -> dict[str, object]:
        """What a state of this run records; `stamp` identifies its data."""
        return {
            "model": asdict(self.config.model.model_config()),
            "data": stamp,
            QUANTIZATION: asdict(self.config.quantization.quantization()),
            # A run may be moved to another output folder.
            CONFIG: asdict(self.config) | {"output": None},
        }

    def continued(self) -> Plan:
        """This plan with the state that its output folder has at the time of the call. Every process must call it.
        Raises FormatError for a state of another model or corpus."""
        return replace(self, found=self.checkpoints.find(self.origin(self.inputs)))


def _check_triton(config: RunConfig) -> None:
    """Raises UnsupportedError where the config wants Triton's kernels and they cannot run."""
    if not config.training.triton:
        return
    try:
        import triton
    except ModuleNotFoundError:
        raise UnsupportedError("training.triton needs Triton, which pip install triton installs on Linux.") from None
    if triton.knobs.runtime.interpret:
        return
    if not config.training.device.startswith("cuda"):
        raise ArgumentError('training.triton needs training.device = "cuda".')
    from sterna.gpu.device import check_compiler

    check_compiler()


def plan_training(config_path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads the config and checks what it names; writes nothing.

    Raises ArgumentError for a wrong config, files that cannot be read, an empty held-out text, a device that PyTorch
    cannot use and a batch larger than the memory that is free.
    """
    config, base = load_config(config_path, overrides), config_path.parent
    inputs = corpus_inputs(base, config.data.train, config.model.vocab_size)
    valid = beginning(document_parts([source(base, name) for name in config.data.valid]), config.training.eval_bytes)
    if not any(map(any, valid)):
        raise ArgumentError(f"data.valid has no text in its first {config.training.eval_bytes} bytes.")
    plan = Plan(config, base, torch_device(config.training.device), inputs, valid)
    _check_memory(config)
    _check_triton(config)
    return plan


def new_decoder(config: RunConfig) -> Decoder:
    """The model of a run with its first weights."""
    model = Decoder(config.model.model_config(), config.quantization.quantization())
    for module in model.modules():
        if isinstance(module, Block):
            module.triton = config.training.triton
    return model


def torch_device(name: str) -> torch.device:
    """The torch device `name`, of several GPUs this process's. Raises ArgumentError where it cannot hold a tensor."""
    try:
        return usable_device(name)
    except ValueError as error:
        raise ArgumentError(f"training.device is {name!r}, and {error}.") from error


def _check_memory(config: RunConfig) -> None:
    """Raises ArgumentError where one batch's logits alone do not fit into the memory that is free."""
    model, training = config.model, config.training
    least = training.batch_size // training.accumulation * model.context_length * model.vocab_size * 4
    free = available_memory()
    if training.device == "cpu" and free is not None and least > free:
        raise ArgumentError(
            f"training.batch_size = {training.batch_size} needs more than {readable(least)} of memory with this "
            f"[model], and {readable(free)} are free; lower it, or raise training.accumulation."
        )
