"""How the next token is chosen, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sterna.engine.checks import real, whole
from sterna.engine.options import flag
from sterna.errors import ArgumentError


@dataclass(frozen=True)
class SamplingParams:
    """Applied in this order, as in Hugging Face: repetition, presence and frequency penalty, bias, temperature, top-k,
    top-p, min-p.

    The same seed gives the same text. Raises `ArgumentError` for a value that cannot work.
    """

    max_tokens: int | None = field(
        default=None,
        metadata=flag("-n", "--max-tokens", help="Most tokens to generate; the text may end before."),
    )
    """None: up to the end of text or of the context."""
    min_tokens: int = 0
    """Neither the end of text nor a stop string ends the text before it has this many tokens."""
    temperature: float = field(default=0.0, metadata=flag("--temp", help="0 takes the most likely token."))
    top_k: int = field(default=0, metadata=flag("--top-k", help="Only the K most likely; 0 is off."))
    top_p: float = field(default=1.0, metadata=flag("--top-p", help="Only the most likely that make up P; 1 is off."))
    min_p: float = field(
        default=0.0, metadata=flag("--min-p", help="Only those with P of the best one's chance; 0 is off.")
    )
    """arXiv 2407.01082."""
    repetition_penalty: float = field(
        default=1.0, metadata=flag("--repeat-penalty", help="Divides the logits of tokens in prompt or text; 1 is off.")
    )
    """Divides positive logits of ids already in prompt or text, multiplies negative ones (arXiv 1909.05858)."""
    presence_penalty: float = field(
        default=0.0,
        metadata=flag("--presence-penalty", help="Subtracted from the logits of tokens in the text; 0 is off."),
    )
    """Subtracted from the logits of ids that the text (not the prompt) has."""
    frequency_penalty: float = field(
        default=0.0,
        metadata=flag("--frequency-penalty", help="Subtracted as often as a token is in the text; 0 is off."),
    )
    """Subtracted once for each time that the text (not the prompt) has an id."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these ids."""
    logprobs: int | None = None
    """How many of the most likely ids to report beside each token's log-probability; None reports neither."""
    seed: int | None = field(
        default=None, metadata=flag("--seed", help="The same seed gives the same text; default: random.")
    )
    """None draws one for each text."""
    stop: tuple[str, ...] = field(default=(), metadata=flag("--stop", help="End before this string; may be repeated."))
    """Strings that end the text and are not part of it. A single string or a list is accepted, too."""
    ignore_eos: bool = field(default=False, metadata=flag("--ignore-eos", help="Go on past the end of text."))
    lookup: int = field(
        default=0,
        metadata=flag(
            "--lookup", help="Most tokens that a pass drafts from earlier text; the text is the same; 0 is off."
        ),
    )
    """Most tokens to draft for a pass by prompt lookup. The text is the same: it only comes faster where it repeats
    earlier text."""

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else self.stop or ()
        object.__setattr__(self, "stop", tuple(stop) if isinstance(stop, list) else stop)
        checks = {
            "max_tokens must be a whole number from 1": self.max_tokens is None or whole(self.max_tokens, 1, 2**31),
            "min_tokens must be a whole number from 0, at most max_tokens": whole(self.min_tokens, 0, 2**31)
            and (not isinstance(self.max_tokens, int) or self.min_tokens <= self.max_tokens),
            "temperature must be a number from 0": real(self.temperature) and self.temperature >= 0,
            "top_k must be a whole number from 0 (off)": whole(self.top_k, 0, 2**31),
            "top_p must be a number above 0, at most 1": real(self.top_p) and 0 < self.top_p <= 1,
            "min_p must be a number from 0 to 1": real(self.min_p) and 0 <= self.min_p <= 1,
            "repetition_penalty must be a number above 0": real(self.repetition_penalty)
            and self.repetition_penalty > 0,
            "presence_penalty must be a number": real(self.presence_penalty),
            "frequency_penalty must be a number": real(self.frequency_penalty),
            "logit_bias must map token ids to numbers": isinstance(self.logit_bias, Mapping)
            and all(whole(token, 0, 2**31) and real(bias) for token, bias in self.logit_bias.items()),
            "logprobs must be a whole number from 0": self.logprobs is None or whole(self.logprobs, 0, 2**31),
            "seed must be a whole number from 0, below 2^64": self.seed is None or whole(self.seed, 0, 2**64),
            "lookup must be a whole number from 0 (off)": whole(self.lookup, 0, 2**31),
            "stop must be strings that are not empty": isinstance(self.stop, tuple)
            and all(isinstance(text, str) and text for text in self.stop),
            "ignore_eos must be True or False": isinstance(self.ignore_eos, bool),
        }
        for sentence, good in checks.items():
            if not good:
                raise ArgumentError(f"The option {sentence}.")
        # A caller may change the mapping later.
        object.__setattr__(self, "logit_bias", {int(token): float(bias) for token, bias in self.logit_bias.items()})
