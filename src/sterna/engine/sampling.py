"""How the next token is chosen, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sterna.errors import ArgumentError


@dataclass(frozen=True)
class SamplingParams:
    """Order: repetition penalty, temperature, top-k, top-p, min-p (as in Hugging Face).

    The same seed gives the same text. Raises `ArgumentError` for a value that cannot work.
    """

    max_tokens: int | None = None
    """Most tokens to generate; None goes on to the end of text or of the context."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    top_k: int = 0
    """0 is off."""
    top_p: float = 1.0
    min_p: float = 0.0
    """Drops tokens less likely than this share of the most likely one (arXiv 2407.01082)."""
    repetition_penalty: float = 1.0
    """Divides positive logits of ids already in prompt or text, multiplies negative ones (arXiv 1909.05858)."""
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it."""
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        checks = {
            "max_tokens must be at least 1": self.max_tokens is None or self.max_tokens >= 1,
            "temperature must be a number from 0 up": math.isfinite(self.temperature) and self.temperature >= 0,
            "top_k must be from 0 (off) to 2147483647": 0 <= self.top_k < 2**31,
            "top_p must be above 0 and at most 1": 0 < self.top_p <= 1,
            "min_p must be from 0 to 1": 0 <= self.min_p <= 1,
            "repetition_penalty must be above 0": math.isfinite(self.repetition_penalty)
            and self.repetition_penalty > 0,
            "seed must be from 0 to 18446744073709551615": 0 <= self.seed < 2**64,
            "a stop string must not be empty": all(self.stop),
        }
        for sentence, good in checks.items():
            if not good:
                raise ArgumentError(f"{sentence[0].upper()}{sentence[1:]}.")
