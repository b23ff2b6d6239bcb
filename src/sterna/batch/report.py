"""What a run has done: lines, tokens, time, price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sterna.batch.outcome import Outcome


@dataclass
class BatchReport:
    """What a run of a job has done; `run` gives it, and shows it to `progress` while it grows."""

    done: int = 0
    """Lines of the input that have an outcome, those of earlier runs included."""
    failed: int = 0
    """Lines in the error file, likewise."""
    prompt_tokens: int = 0
    """Tokens of the prompts of this run."""
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompts that the prefix cache had, so that they were not computed."""
    seconds: float = 0.0
    """Time since this run began to compute."""
    share: float | None = None
    """How much of the input is done, from 0 to 1; None where its size is unknown."""
    seconds_left: float | None = None
    """What the rest will take at this run's speed; None where that is unknown."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of prompts and answers together."""
        return (self.prompt_tokens + self.completion_tokens) / self.seconds if self.seconds > 0 else 0.0

    def price_per_million(self, price_per_hour: float) -> float | None:
        """What a million tokens cost on a machine with this price an hour; None before there are any."""
        speed = self.tokens_per_second
        return price_per_hour / 3600 / speed * 1e6 if speed else None

    def take(self, outcome: Outcome) -> None:
        """Counts the tokens of an outcome of this run."""
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        self.cached_tokens += outcome.cached_tokens


Progress = Callable[[BatchReport], None]
"""Is called a few times a second with what has been done."""
