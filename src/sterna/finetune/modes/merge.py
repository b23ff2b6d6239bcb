"""`export.merge = "qat"`: an adapter becomes part of a ternary model, whose weights are trained on with it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch

from sterna.checkpoint.adapters import Adapter, read_adapter
from sterna.checkpoint.adapters.adapter import HEAD
from sterna.errors import ArgumentError
from sterna.files.sizes import readable
from sterna.finetune.base import quantization_of
from sterna.finetune.inputs import Inputs
from sterna.finetune.modes.full import Full
from sterna.train.model import Decoder

FOLDER = "merged"
"""The folder of this run in that of the adapter's."""


class Merge(Full):
    """Mode `full` from the base's latent weights plus `scale · B A`: rounding the sum alone would lose most of an
    adapter (docs/adapters.md, Merging), which training brings back."""

    def __init__(self, inputs: Inputs, adapted: Collection[str]) -> None:
        """`inputs` are those of the run that trains the adapter, whose matrices are called `adapted`. Raises
        UnsupportedError for a base that cannot be trained, ArgumentError for one that is not ternary or has no matrix
        of its own for the head that is adapted, and for an adapter whose folder would be that of this run."""
        config = inputs.config
        if config.name.lower() == FOLDER:  # file systems may not tell the cases of letters apart
            raise ArgumentError(
                f'export.merge = "qat" writes to the folder {FOLDER}, and the adapter is written to a folder of its '
                f"name: give the run another name than {FOLDER}."
            )
        steps = config.training.steps if config.export.merge_steps is None else config.export.merge_steps
        own = replace(
            config,
            name=f"{config.name}-{FOLDER}",
            mode="full",
            output=f"{config.output}/{FOLDER}",
            training=replace(config.training, steps=steps),
        )
        super().__init__(replace(inputs, config=own))
        if quantization_of(inputs.base).weights != "ternary":
            raise ArgumentError(
                f'{inputs.base.path} is not ternary, and merges without loss: set export.merge = "float".'
            )
        if HEAD in adapted and inputs.base.config.tied_head:
            raise ArgumentError(
                'export.merge = "qat" has no place for an adapter of lm_head in a model whose head is its embedding: '
                "take it out of lora.targets."
            )
        self._path = inputs.output / config.name

    @cached_property
    def adapter(self) -> Adapter:
        """The adapter that was trained. Raises what `read_adapter` does."""
        return read_adapter(self._path, self.inputs.base.config)

    def announce(self) -> list[str]:
        """A line about this run, for people who ask about the adapter's."""
        steps, memory = self.inputs.config.training.steps, readable(self.memory())
        return [f"merged: then {steps:,} steps of all weights in {self.inputs.output}, about {memory} of memory"]

    @property
    def origin(self) -> dict[str, object]:
        return {**super().origin, "adapter": _digest(self.adapter)}

    def new_model(self) -> Decoder:
        model = super().new_model()
        with torch.no_grad():
            for name, low in self.adapter.updates.items():
                model.get_parameter(name).add_(torch.from_numpy(low.delta()))
        return model


def _digest(adapter: Adapter) -> str:
    """The SHA-256 of an adapter's numbers, in hexadecimal digits."""
    state = hashlib.sha256()
    for name, low in sorted(adapter.updates.items()):
        state.update(name.encode() + np.float64(low.scale).tobytes() + low.a.tobytes() + low.b.tobytes())
    return state.hexdigest()
