"""The tasks: what a line of a file asks, in the shapes that data sets have, and which metrics it gives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sterna.errors import FormatError
from sterna.evaluate.scoring import Score
from sterna.evaluate.statistics import wilson

Line = Mapping[str, Any]
Results = Mapping[str, float]
"""What one item gives: metrics that are averaged over all."""

ANSWER = "\nAnswer:"
LETTERS = "ABCD"


@dataclass(frozen=True)
class Item:
    """One question: `pairs` of context and continuation whose scores decide, or a `prompt` that is to be continued."""

    pairs: list[tuple[str, str]]
    results: Callable[[Sequence[Score]], Results]
    """Of the scores of the pairs, in their order."""
    prompt: str | None = None
    check: Callable[[str], Results] = field(default=lambda text: {})
    """Of the text that continues the prompt."""
    shown: str = ""
    """The question with its right answer, as an example before others."""


def item_of(line: Line) -> Item:
    """The item of a line. Raises `FormatError` for a line of no known shape, and for entries that do not fit it."""
    return shape_of(line)(line)


def shape_of(line: Line) -> Callable[[Line], Item]:
    """What makes an item of a line, by the keys that it has. Raises `FormatError` for a line of no known shape."""
    for keys, make in SHAPES:
        if all(key in line for key in keys):
            return make
    raise FormatError(
        f"A line has the entries {', '.join(line)}; a task has {'; or '.join(', '.join(keys) for keys, _ in SHAPES)}."
    )


def _choices(line: Line) -> Item:
    """`query`, `choices`, `gold`: the choice whose continuation is the most likely; normalised (`acc_norm`) by its
    length in characters."""
    query, choices = _text(line, "query"), _texts(line, "choices")
    gold = _index(line, choices)
    context = query.rstrip() + (ANSWER if query.startswith(("Question:", "Passage:")) else "")
    return Item(
        [(context, f" {choice}") for choice in choices],
        lambda scores: {
            "acc": float(_best([score.logprob for score in scores]) == gold),
            "acc_norm": float(
                _best([score.logprob / max(len(text), 1) for score, text in zip(scores, choices, strict=True)]) == gold
            ),
        },
        shown=f"{context} {choices[gold]}",
    )


def _options(line: Line) -> Item:
    """`context_options`, `continuation`, `gold`: the context after which the continuation is the most likely
    (Winograd)."""
    contexts, continuation = _texts(line, "context_options"), _text(line, "continuation")
    gold = _index(line, contexts)
    return Item(
        [(context, f" {continuation}") for context in contexts],
        lambda scores: {"acc": float(_best([score.logprob for score in scores]) == gold)},
        shown=f"{contexts[gold]} {continuation}",
    )


def _last_word(line: Line) -> Item:
    """`context`, `continuation`: whether the continuation is what greedy decoding gives (LAMBADA)."""
    context, continuation = _text(line, "context"), _text(line, "continuation")
    return Item(
        [(context, f" {continuation}")],
        lambda scores: {"acc": float(scores[0].greedy), "nll": -scores[0].logprob},
        shown=f"{context} {continuation}",
    )


def _minimal_pair(line: Line) -> Item:
    """`sentence_good`, `sentence_bad`: which of two whole sentences is the more likely (BLiMP)."""
    sentences = [_text(line, "sentence_good"), _text(line, "sentence_bad")]
    if not all(sentences):
        raise FormatError("A sentence of a line is empty.")
    return Item(
        [("", sentence) for sentence in sentences],
        lambda scores: {"acc": float(_best([score.logprob for score in scores]) == 0)},
        shown=sentences[0],
    )


def _number(line: Line) -> Item:
    """`context`, `answer`: a text is generated, whose last number must be the answer (GSM8K)."""
    question, answer = _text(line, "context"), _text(line, "answer")
    if last_number(answer) is None:
        raise FormatError(f"The answer of a line is {answer[:40]!r}, and must have a number.")
    thoughts = line.get("chain_of_thought")
    worked = f"{thoughts}\n#### {answer}" if isinstance(thoughts, str) else answer
    return Item(
        [],
        lambda scores: {},
        prompt=f"Question: {question}{ANSWER}",
        check=lambda text: {"exact_match": float(last_number(text) == last_number(answer))},
        shown=f"Question: {question}{ANSWER} {worked}",
    )


def _letters(line: Line) -> Item:
    """`question`, `A` to `D`, `letter`, `subject`: the letter of the right choice (MMLU)."""
    letter = _text(line, "letter")
    choices = "".join(f"\n{name}. {_text(line, name)}" for name in LETTERS)
    context = f"{_text(line, 'question').strip()}{choices}{ANSWER}"
    if letter not in LETTERS or len(letter) != 1:
        raise FormatError(f"The letter of a line is {letter!r}, and must be one of A to D.")
    return Item(
        [(context, f" {name}") for name in LETTERS],
        lambda scores: {"acc": float(_best([score.logprob for score in scores]) == LETTERS.index(letter))},
        shown=f"{context} {letter}",
    )


SHAPES: tuple[tuple[tuple[str, ...], Callable[[Line], Item]], ...] = (
    (("query", "choices", "gold"), _choices),
    (("context_options", "continuation", "gold"), _options),
    (("context", "continuation"), _last_word),
    (("sentence_good", "sentence_bad"), _minimal_pair),
    (("context", "answer"), _number),
    (("question", *LETTERS, "letter"), _letters),
)
"""The entries of a line, and what it then asks."""

STOPS = ("Question:", "\n\n")
"""Where a generated answer ends."""
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> float | None:
    """The last number in a text, without separators and currency; None where it has none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("$", "")) if found else None


def summary(results: Sequence[Results]) -> dict[str, float]:
    """The metrics of a task: means, `n`, the interval `low` to `high` (Wilson, 95 %) of its first share, and
    `perplexity` of what has likelihoods."""
    n = len(results)
    names = list(results[0]) if results else []
    means = {name: sum(result[name] for result in results) / n for name in names}
    if "nll" in means:
        means["perplexity"] = math.exp(min(means.pop("nll"), 700.0))
    low, high = wilson(round(sum(result[names[0]] for result in results)), n) if names else (0.0, 1.0)
    return {**means, "n": n, "low": low, "high": high}


def _best(values: Sequence[float]) -> int:
    """The index of the largest value, the first of equals."""
    return max(range(len(values)), key=lambda index: values[index])


def _text(line: Line, key: str) -> str:
    value = line.get(key)
    if not isinstance(value, str):
        raise FormatError(f"The {key} of a line is no text.")
    return value


def _texts(line: Line, key: str) -> list[str]:
    values = line.get(key)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise FormatError(f"The {key} of a line are no list of texts.")
    return values


def _index(line: Line, choices: Sequence[str]) -> int:
    gold = line.get("gold")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
        raise FormatError(
            f"The gold of a line is {gold!r}, and must be the number of one of its {len(choices)} choices."
        )
    return gold
