"""How the next token is chosen, and when to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

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
    seed: int | None = None
    """None draws one for each sequence."""
    stop: tuple[str, ...] = ()
    """Strings that end the text; they are not part of it."""
    ignore_eos: bool = False
    lookup: int = 0
    """Most tokens to draft for a pass by prompt lookup; 0 is off. The text is the same: it only comes faster where it
    repeats earlier text."""

    def __post_init__(self) -> None:
        checks = {
            "max_tokens must be a whole number from 1": self.max_tokens is None or _whole(self.max_tokens, 1, 2**31),
            "temperature must be a number from 0": _real(self.temperature) and self.temperature >= 0,
            "top_k must be a whole number from 0 (off)": _whole(self.top_k, 0, 2**31),
            "top_p must be a number above 0, at most 1": _real(self.top_p) and 0 < self.top_p <= 1,
            "min_p must be a number from 0 to 1": _real(self.min_p) and 0 <= self.min_p <= 1,
            "repetition_penalty must be a number above 0": _real(self.repetition_penalty)
            and self.repetition_penalty > 0,
            "seed must be a whole number from 0, below 2^64": self.seed is None or _whole(self.seed, 0, 2**64),
            "lookup must be a whole number from 0 (off)": _whole(self.lookup, 0, 2**31),
            "stop must be strings that are not empty": all(isinstance(text, str) and text for text in self.stop),
        }
        for sentence, good in checks.items():
            if not good:
                raise ArgumentError(f"The option {sentence}.")


def _whole(value: object, least: int, end: int) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) < end


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
