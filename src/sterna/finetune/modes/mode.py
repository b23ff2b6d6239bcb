"""What a mode of fine-tuning has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from sterna.finetune.inputs import Inputs
from sterna.finetune.task import Data, FineTuning
from sterna.train.checkpoints import Checkpoints
from sterna.train.export import Exports


class Mode(Protocol):
    """Makes the model of a run from its base, and files from the trained model."""

    inputs: Inputs

    @property
    def origin(self) -> dict[str, object]:
        """What a state of the run must have in common with the run: its `model`, and its `quantization`, if it is a
        state that can be exported (`sterna.checkpoint.state`)."""

    def new_model(self) -> nn.Module:
        """A `sterna.finetune.task.FineTuned` with the weights with which the run begins; its parameters are what is
        trained."""

    def empty_model(self) -> nn.Module:
        """The same model with whatever weights, which a state replaces."""

    def task(self, model: nn.Module, data: Data, recorded: Mapping[str, Any] | None = None) -> FineTuning:
        """The task. `recorded`: what the task of the same run recorded in a state; without it, `model` has the weights
        with which the run begins."""

    def memory(self) -> int:
        """About how many bytes the run takes at its peak."""

    def describe(self) -> list[str]:
        """Lines about the model, for people."""

    @property
    def following(self) -> Mode | None:
        """What is trained next, from what this mode exports; None: nothing."""

    def export(self, model: nn.Module, checkpoints: Checkpoints) -> Exports:
        """Writes the trained model; of several processes, which must all call it, the first writes."""
