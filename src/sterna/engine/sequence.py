"""One prompt and what has been generated for it so far."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

from sterna.engine.lookup import PromptLookup
from sterna.engine.sampling import SamplingParams
from sterna.model.tokenizer import StreamDecoder


@dataclass(frozen=True)
class Completion:
    """What came of one prompt. Speeds are tokens a second; a speed that cannot be told (no second token) is 0."""

    text: str
    token_ids: list[int]
    prompt_tokens: int
    completion_tokens: int
    stop_reason: str
    """`eos`, `stop` (a stop string) or `length` (max_tokens or the context is full)."""
    prefill_tps: float
    """Of the prompt tokens that did not come from the prefix cache."""
    decode_tps: float
    draft_tokens: int = 0
    """Tokens that prompt lookup guessed, and"""
    accepted_tokens: int = 0
    """how many of them were right, so that they needed no pass of their own."""


class Sequence:
    """State of one generation: tokens, its blocks in the KV pool, its text, and why it stopped."""

    def __init__(
        self, prompt_ids: SequenceOf[int], params: SamplingParams, eos_ids: frozenset[int], decoder: StreamDecoder
    ) -> None:
        self.token_ids = list(prompt_ids)
        self.prompt_tokens = len(prompt_ids)
        self.params = params
        self.lookup = PromptLookup(self.token_ids) if params.lookup else None
        self.draft_tokens = self.accepted_tokens = 0
        self.num_cached = 0
        """Tokens whose keys and values lie in the pool."""
        self.cached_at_start = 0
        """Of these, tokens that came from the prefix cache."""
        self.blocks: list[int] = []
        self.block_keys: list[bytes] = []
        self.seed = secrets.randbits(64) if params.seed is None else params.seed
        self.stop_reason: str | None = None
        self.text = ""
        self.error: Exception | None = None
        self._decoder = decoder
        self._eos_ids = frozenset() if params.ignore_eos else eos_ids
        self._emitted = 0
        self.started = self.first_token = self.ended = 0.0

    @property
    def completion_ids(self) -> list[int]:
        return self.token_ids[self.prompt_tokens :]

    @property
    def is_generating(self) -> bool:
        """Whether the prompt is done; then every token but the last has its keys and values in the pool."""
        return len(self.token_ids) > self.prompt_tokens

    @property
    def finished(self) -> bool:
        return self.stop_reason is not None or self.error is not None

    def append(self, token: int, context_length: int) -> None:
        """Adds a chosen token and decides whether the text ends with it."""
        now = time.perf_counter()
        if not self.is_generating:
            self.first_token = now
        self.ended = now
        self.token_ids.append(token)
        if token in self._eos_ids:
            self._finish("eos")
            return
        searched = max(0, len(self.text) - max((len(s) for s in self.params.stop), default=0))
        self.text += self._decoder.push(token)
        if self._cut_at_stop(searched):
            return
        if len(self.token_ids) - self.prompt_tokens == self.params.max_tokens or len(self.token_ids) >= context_length:
            self._finish("length")

    def take_text(self) -> str:
        """Text not taken before. A tail that may turn out to begin a stop string is held back until the text ends."""
        end = len(self.text)
        if not self.finished:
            for stop in self.params.stop:
                for n in range(min(len(stop) - 1, end), 0, -1):
                    if self.text.endswith(stop[:n]):
                        end = min(end, len(self.text) - n)
                        break
        piece = self.text[self._emitted : end]
        self._emitted = max(self._emitted, end)
        return piece

    def completion(self) -> Completion:
        """The finished result."""
        ids = self.completion_ids
        prefill = self.first_token - self.started
        decode = self.ended - self.first_token
        return Completion(
            text=self.text,
            token_ids=ids,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=len(ids),
            stop_reason=self.stop_reason or "",
            prefill_tps=(self.prompt_tokens - self.cached_at_start) / prefill if prefill > 0 else 0.0,
            decode_tps=(len(ids) - 1) / decode if decode > 0 else 0.0,
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
        )

    def _finish(self, reason: str) -> None:
        searched = max(0, len(self.text) - max((len(s) for s in self.params.stop), default=0))
        self.text += self._decoder.flush()
        if not self._cut_at_stop(searched):
            self.stop_reason = reason

    def _cut_at_stop(self, searched: int) -> bool:
        found = [at for at in (self.text.find(s, searched) for s in self.params.stop) if at >= 0]
        if not found:
            return False
        self.text = self.text[: min(found)]
        self.stop_reason = "stop"
        return True
