"""The task of `sterna train`: the next token of random windows of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from sterna.train.config import RunConfig
from sterna.train.corpus import document_parts
from sterna.train.data import random_windows
from sterna.train.distributed import own_share
from sterna.train.evaluation import text_bits_per_byte
from sterna.train.loss import next_token_loss
from sterna.train.model import Decoder
from sterna.train.samples import sample_text
from sterna.train.sources import Rows


class Pretraining:
    """Trains `model` on `tokens` (uint16 [n]); a `sterna.train.loop.Task`."""

    def __init__(
        self, config: RunConfig, model: Decoder, tokenizer: Tokenizer, tokens: np.ndarray, valid: list[list[str]]
    ) -> None:
        """`valid`: the held-out texts, in parts, that are scored on the way."""
        training = config.training
        self.model, self._config, self._tokenizer, self._tokens, self._valid = model, config, tokenizer, tokens, valid
        self._tokens_per_step = training.batch_size * config.model.context_length
        self._device = next(model.parameters()).device
        self._loss = torch.compile(self._mean_loss) if training.compile else self._mean_loss

    def tokens(self, steps: int) -> int:
        """All batches have equally many tokens."""
        return steps * self._tokens_per_step

    def parts(self, step: int) -> Iterator[Tensor]:
        """Windows int64 [batch_size / accumulation / processes, context_length + 1]."""
        training = self._config.training
        windows = random_windows(
            self._tokens, training.seed, step, training.batch_size, self._config.model.context_length
        )
        for part in torch.from_numpy(windows).chunk(training.accumulation):
            yield own_share(part).to(self._device)

    def loss(self, part: Tensor) -> Tensor:
        """The part's share of the batch's mean loss; all parts are of one size. Each process has the loss of its own
        windows, and gradients are averaged over processes."""
        loss: Tensor = self._loss(part)
        return loss / self._config.training.accumulation

    def _mean_loss(self, windows: Tensor) -> Tensor:
        training = self._config.training
        with torch.autocast(windows.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
            logits = self.model(windows[:, :-1])
        return next_token_loss(logits, windows[:, 1:], training.z_loss)

    def terms(self) -> dict[str, float]:
        """The loss has one term."""
        return {}

    def evaluate(self) -> dict[str, float]:
        """Bits per byte of the beginning of the held-out text."""
        return {"bits_per_byte": self._bits_per_byte(self._valid)}

    def evaluate_all(self, sources: list[Path | Rows]) -> float:
        """Bits per byte of the whole held-out text."""
        return self._bits_per_byte(document_parts(sources))

    def _bits_per_byte(self, texts: Iterable[Iterable[str]]) -> float:
        return text_bits_per_byte(self.model, self._tokenizer, texts, self._config.model.context_length)

    def recorded(self) -> dict[str, float]:
        """Nothing is found out before the first step."""
        return {}

    def samples(self) -> Iterator[dict[str, str]]:
        """How the model goes on from each of `watch.prompts`."""
        watch = self._config.watch
        if watch.sample_tokens:
            for prompt in watch.prompts:
                text = sample_text(self.model, self._tokenizer, prompt, watch.sample_tokens)
                yield {"prompt": prompt, "text": text}
