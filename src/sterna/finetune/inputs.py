"""What a run of `sterna finetune` is made from: its config, its base, and its examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from sterna.checkpoint import Checkpoint
from sterna.finetune.config import FineTuneConfig
from sterna.finetune.data.batches import Batches
from sterna.finetune.data.examples import Sequence, Source
from sterna.finetune.task import Data
from sterna.model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Inputs:
    """A checked config, and what it names."""

    config: FineTuneConfig
    folder: Path
    """The folder of the TOML file; paths in it are relative to this folder."""
    base: Checkpoint
    tokenizer: Tokenizer
    device: torch.device
    sources: list[Source]

    @property
    def output(self) -> Path:
        return self.folder / self.config.output

    @cached_property
    def data(self) -> Data:
        """The batches of the run, and the held-out examples that are scored on the way."""
        training = self.config.training
        train = [source for source in self.sources if source.section.split == "train"]
        return Data(Batches(train, training.context, training.packing, training.seed), self._valid(), self.tokenizer)

    def _valid(self) -> list[Sequence]:
        """The first held-out examples, of which about `training.eval_bytes` are learned."""
        valid: list[Sequence] = []
        left = self.config.training.eval_bytes
        for source in self.sources:
            for sequence in source.sequences if source.section.split == "valid" else ():
                if left > 0:
                    valid.append(sequence)
                    learned = sequence.ids[sequence.learned].tolist()
                    left -= sum(len(self.tokenizer.token_bytes(token)) for token in learned)
        return valid
