"""Checks a fine-tuning run before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sterna.errors import ArgumentError
from sterna.finetune.base import open_base
from sterna.finetune.config import load_config
from sterna.finetune.data.examples import digest, read_source
from sterna.finetune.inputs import Inputs
from sterna.finetune.modes import MODES
from sterna.finetune.modes.mode import Mode
from sterna.train.checkpoints import Checkpoints, FoundState
from sterna.train.plan import torch_device
from sterna.train.state import CONFIG
from sterna.train.watch.machine import flops_per_token


@dataclass(frozen=True)
class Plan:
    """The mode of a run with its inputs, and the step from which it goes on."""

    mode: Mode
    origin: dict[str, object]
    """What a state of this run records."""
    found: FoundState | None = None
    """The state in the output folder from which the run goes on; None: it begins anew."""

    @property
    def inputs(self) -> Inputs:
        return self.mode.inputs

    @property
    def output(self) -> Path:
        return self.inputs.output

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.output)

    @property
    def step(self) -> int:
        """The step from which the run goes on."""
        return self.found.saved.step if self.found is not None else 0

    @property
    def flops_per_token(self) -> float:
        """Floating-point operations that training takes for a token of a row of `training.context` tokens."""
        shape = replace(self.inputs.base.config, context_length=self.inputs.config.training.context)
        return flops_per_token(shape)

    @property
    def notes(self) -> list[str]:
        """Sentences for people about what they may not expect."""
        sentences = self.found.notes if self.found is not None else []
        for source in self.inputs.sources:
            name = source.section.path
            if source.cut:
                sentences.append(f"{source.cut:,} examples of {name} are longer than training.context and were cut.")
            if source.without_answer:
                sentences.append(
                    f"{source.without_answer:,} examples of {name} have nothing to learn and are left out."
                )
        return sentences

    def continued(self) -> Plan:
        """This plan with the state that its output folder has at the time of the call. Every process must call it.
        Raises FormatError for a state of another model or other data."""
        return replace(self, found=self.checkpoints.find(self.origin))

    def following(self) -> Plan | None:
        """The run that begins with what this one exports, after it has; None: there is none."""
        return None if self.mode.following is None else _plan(self.mode.following)


def plan_finetuning(config_path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads the config and what it names; writes nothing.

    Raises ArgumentError for a wrong config, data that cannot be read and a device that PyTorch cannot use, what
    `open_checkpoint` raises for the base, UnsupportedError for one that cannot be trained.
    """
    config, folder = load_config(config_path, overrides), config_path.parent
    base = open_base(folder, config.base)
    tokenizer = base.tokenizer()
    context, vocabulary = config.training.context, base.config.vocab_size
    sources = [read_source(folder, section, tokenizer, context, vocabulary) for section in config.data]
    inputs = Inputs(config, folder, base, tokenizer, torch_device(config.training.device), sources)
    if not inputs.data.batches.epoch(0):
        raise ArgumentError('The sources with split = "train" have no example from which anything is learned.')
    return _plan(MODES[config.mode](inputs))


def _plan(mode: Mode) -> Plan:
    config, training = mode.inputs.config, mode.inputs.config.training
    examples = digest(mode.inputs.sources)
    data = {"examples": examples, "context": training.context, "packing": training.packing}
    # A run may be moved to another output folder.
    return Plan(mode, {**mode.origin, "data": data, CONFIG: asdict(config) | {"output": None}})
