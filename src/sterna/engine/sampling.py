"""How the next token is chosen, and when to stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sterna.engine.checks import Biases, Number, Options, Strings, Switch, Whole, option
from sterna.errors import OptionError

MOST = 2**31 - 1
"""Largest whole number that the native engine takes."""


@dataclass(frozen=True)
class SamplingParams(Options):
    """Applied in this order, as in Hugging Face: repetition, presence and frequency penalty, bias, temperature, top-k,
    top-p, min-p.

    The same seed gives the same text. Raises `OptionError` for a value that cannot work.
    """

    max_tokens: int | None = option(
        None,
        Whole(1, none="for no limit"),
        "-n",
        "--max-tokens",
        help="Most tokens to generate; -1: until the text ends or the context is full.",
    )
    """None: up to the end of text or of the context."""
    min_tokens: int = option(0, Whole(0))
    """Neither the end of text nor a stop string ends the text before it has this many tokens."""
    temperature: float = option(0.0, Number(least=0), "--temp", "--temperature", help="0 takes the most likely token.")
    top_k: int = option(0, Whole(0, MOST), "--top-k", help="Only the K most likely; 0 is off.")
    top_p: float = option(
        1.0, Number(above=0, most=1), "--top-p", help="Only the most likely that make up P; 1 is off."
    )
    min_p: float = option(
        0.0, Number(least=0, most=1), "--min-p", help="Only those with P of the best one's chance; 0 is off."
    )
    """arXiv 2407.01082."""
    repetition_penalty: float = option(
        1.0, Number(above=0), "--repeat-penalty", help="Divides the logits of tokens in prompt or text; 1 is off."
    )
    """Divides positive logits of ids already in prompt or text, multiplies negative ones (arXiv 1909.05858)."""
    presence_penalty: float = option(
        0.0, Number(), "--presence-penalty", help="Subtracted from the logits of tokens in the text; 0 is off."
    )
    """Subtracted from the logits of ids that the text (not the prompt) has."""
    frequency_penalty: float = option(
        0.0, Number(), "--frequency-penalty", help="Subtracted as often as a token is in the text; 0 is off."
    )
    """Subtracted once for each time that the text (not the prompt) has an id."""
    logit_bias: Mapping[int, float] = option({}, Biases())
    """Added to the logits of these ids."""
    logprobs: int | None = option(None, Whole(0, MOST, optional=True))
    """How many of the most likely ids to report beside each token's log-probability; None reports neither."""
    echo: bool = option(False, Switch())
    """Whether the result begins with the prompt: its text, its tokens and, if asked for, their log-probabilities."""
    seed: int | None = option(
        None,
        Whole(0, 2**64 - 1, none="for a random one"),
        "--seed",
        help="The same seed gives the same text; default, and -1: random.",
    )
    """None draws one for each text, which `Completion.seed` has."""
    stop: tuple[str, ...] = option((), Strings(), "--stop", help="End before this string; may be repeated.")
    """Strings that end the text and are not part of it. A single string or a list is accepted, too."""
    ignore_eos: bool = option(False, Switch(), "--ignore-eos", help="Go on past the end of text.")
    lookup: int = option(
        0,
        Whole(0, MOST),
        "--lookup",
        help="Most tokens that a pass drafts from earlier text; the text is the same; 0 is off.",
    )
    """Most tokens to draft for a pass by prompt lookup. The text is the same: it only comes faster where it repeats
    earlier text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise OptionError("min_tokens", f"is at most max_tokens, {self.max_tokens}, not {self.min_tokens}.")
