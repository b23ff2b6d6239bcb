"""The task of `sterna finetune`: the next token of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from sterna.errors import ArgumentError
from sterna.evaluate.windows import bits_per_byte
from sterna.finetune.config import FineTuneConfig
from sterna.finetune.data.batches import Batches, Part, learned_tokens, part_of
from sterna.finetune.data.examples import Sequence as Example
from sterna.finetune.loss import answer_loss
from sterna.model.config import ModelConfig
from sterna.model.tokenizer import Tokenizer
from sterna.train.distributed import process_count, process_rank
from sterna.train.samples import sample_tokens


class FineTuned(Protocol):
    """A model that can be fine-tuned."""

    config: ModelConfig

    def rows(self, tokens: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """tokens [1, n] int64 -> rows behind the last norm [1, n, hidden]; `lengths` of the documents in the row."""

    def logits(self, rows: Tensor) -> Tensor:
        """rows [..., hidden] -> float32 [..., vocab_size]."""


@dataclass(frozen=True)
class Data:
    """What a run learns from, and what it is measured on."""

    batches: Batches
    valid: list[Example]
    tokenizer: Tokenizer


class FineTuning:
    """Trains `model`, a `FineTuned` module, on answers; a `sterna.train.loop.Task`."""

    def __init__(self, config: FineTuneConfig, model: nn.Module, data: Data) -> None:
        self._model, self._config, self._data = model, config, data
        self._device = next(model.parameters()).device
        self._terms: dict[str, float] = {}

    @property
    def model(self) -> nn.Module:
        return self._model

    @property
    def notes(self) -> list[str]:
        """Sentences for people about what the task found out."""
        return []

    @property
    def decoder(self) -> FineTuned:
        """The model, as something that gives rows and logits."""
        return self._model  # type: ignore[return-value]

    def tokens(self, steps: int) -> int:
        """Rows have as many tokens as their examples: nothing is padded."""
        return self._data.batches.tokens(steps * self._config.training.batch_size)

    def recorded(self) -> Mapping[str, float]:
        """Nothing is found out before the first step."""
        return {}

    def parts(self, step: int) -> Iterator[Part]:
        """The rows of this process, in `training.accumulation` parts. Raises ArgumentError where the processes would
        not have equal shares."""
        training = self._config.training
        self._terms = {}
        batch = self._data.batches.batch(step, training.batch_size)
        size = training.batch_size // training.accumulation
        if size % process_count():
            raise ArgumentError(
                f"{process_count()} processes cannot share {size} rows equally; make training.batch_size a multiple "
                "of training.accumulation times the processes."
            )
        learned, tokens = learned_tokens(batch), sum(len(sequence) for row in batch for sequence in row)
        for first in range(0, len(batch), size):
            own = batch[first : first + size][process_rank() :: process_count()]
            yield part_of([sequence for row in own for sequence in row], learned, tokens).to(self._device)

    def loss(self, part: Part) -> Tensor:
        """The part's share of the batch's mean over learned tokens."""
        return self.answers(part, self.rows_of(self.decoder, part))

    def rows_of(self, model: FineTuned, part: Part) -> Tensor:
        """What a model makes of a part."""
        with self._precision():
            return model.rows(part.tokens, part.lengths)

    def logits_of(self, model: FineTuned, rows: Tensor) -> Tensor:
        """What its head makes of rows."""
        with self._precision():
            return model.logits(rows)

    def _precision(self) -> torch.autocast:
        """Matrix products in `training.precision`, inside the block."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._config.training.precision == "bf16")

    def answers(self, part: Part, rows: Tensor) -> Tensor:
        """The cross entropy of the part's learned tokens, divided by how many the whole batch has. Gradients are
        averaged over processes, so each counts for as many as there are."""
        loss = answer_loss(self._logits, rows, part.labels, self._config.training.z_loss)
        return loss * process_count() / part.learned

    def _logits(self, rows: Tensor) -> Tensor:
        return self.logits_of(self.decoder, rows)

    def _with_terms(self, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The weighted sum of the terms of a loss (1: where no weight is given), which are recorded without weights."""
        for name, value in terms.items():
            self._terms[name] = self._terms.get(name, 0.0) + value.item()
        return torch.stack([value * weights.get(name, 1.0) for name, value in terms.items()]).sum()

    def terms(self) -> Mapping[str, float]:
        return self._terms

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        """The model as it is used, inside the block."""
        self._model.eval()
        try:
            yield
        finally:
            self._model.train()

    def evaluate(self) -> dict[str, float]:
        """Nats for each learned token of the held-out examples, and bits for each byte of them; empty without such."""
        if not self._data.valid:
            return {}
        nats, tokens, size = 0.0, 0, 0
        with self._without_dropout(), torch.no_grad():
            for example in self._data.valid:
                part = part_of([example], 1).to(self._device)
                nats += answer_loss(self._logits, self.rows_of(self.decoder, part), part.labels).item()
                learned = example.ids[example.learned].tolist()
                tokens += len(learned)
                size += sum(len(self._data.tokenizer.token_bytes(token)) for token in learned)
        return {"loss": nats / tokens, "bits_per_byte": bits_per_byte(nats, size)}

    def samples(self) -> Iterator[dict[str, str]]:
        """What the model answers to each of `watch.prompts`; one without a chat template goes on from it."""
        watch, tokenizer = self._config.watch, self._data.tokenizer
        for prompt in watch.prompts if watch.sample_tokens else ():
            if tokenizer.chat_template is None:
                begin = tokenizer.encode(prompt)
            else:
                begin = tokenizer.encode_chat([{"role": "user", "content": prompt}])
            with self._without_dropout():
                tokens = sample_tokens(
                    lambda window: self.decoder.logits(self.decoder.rows(window)[:, -1:]),
                    begin,
                    watch.sample_tokens,
                    tokenizer.eos_ids,
                    self._config.training.context,
                    self._device,
                )
            yield {"prompt": prompt, "text": tokenizer.decode(tokens, continuation=True)}
