"""How the next token is chosen: log-probabilities, penalties, biases and masks, against numpy on the same logits."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.engine.request import Request
from sterna.errors import ArgumentError

from .helpers import log_softmax

PROMPT = "The old man looked at the sea and"


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3, "top_k": 40, "seed": 4, "repetition_penalty": 1.5}])
def test_logprobs_are_those_of_the_raw_logits(llm: LLM, options: dict[str, Any]) -> None:
    prompt = llm.tokenizer.encode(PROMPT)
    (completion,) = llm.complete([prompt], max_tokens=12, logprobs=5, ignore_eos=True, **options)
    expected = log_softmax(llm.logits([*prompt, *completion.token_ids]))[len(prompt) - 1 : -1]
    assert completion.logprobs is not None and len(completion.logprobs) == 12
    for given, token, row in zip(completion.logprobs, completion.token_ids, expected, strict=True):
        assert given.token_id == token and abs(given.logprob - row[token]) < 1e-5
        best = np.argsort(-row, kind="stable")[:5]
        assert [token for token, _ in given.top] == best.tolist()
        assert np.abs(np.array([logprob for _, logprob in given.top]) - row[best]).max() < 1e-5


def test_logprobs_come_only_where_they_are_asked_for(llm: LLM) -> None:
    (completion,) = llm.complete([PROMPT], max_tokens=3)
    assert completion.logprobs is None
    (completion,) = llm.complete([PROMPT], max_tokens=3, logprobs=0)
    assert completion.logprobs is not None and [given.top for given in completion.logprobs] == [[]] * 3


def test_logprobs_are_the_same_in_drafted_passes(llm: LLM) -> None:
    options: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True, "logprobs": 2}
    prompt = "He looked at the sea. She looked at the sea. They looked at"
    (plain,), (drafted,) = (llm.complete([prompt], **options, lookup=n) for n in (0, 8))
    assert drafted.accepted_tokens > 0 and drafted.logprobs == plain.logprobs


def greedy(llm: LLM, steps: int, penalty: tuple[float, float, float], bias: dict[int, float]) -> list[int]:
    """The tokens of greedy choice with repetition, presence and frequency penalties, by numpy."""
    prompt = llm.tokenizer.encode(PROMPT)
    text: list[int] = []
    repetition, presence, frequency = penalty
    for _ in range(steps):
        logits = llm.logits([*prompt, *text])[-1].astype(np.float64)
        seen = list({*prompt, *text})
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / repetition, logits[seen] * repetition)
        for token in set(text):
            logits[token] -= presence + frequency * text.count(token)
        for token, value in bias.items():
            logits[token] += value
        text.append(int(logits.argmax()))
    return text


@pytest.mark.parametrize(
    "penalty", [(1.0, 0.0, 0.0), (1.3, 0.0, 0.0), (1.0, 2.0, 0.0), (1.0, 0.0, 0.7), (1.1, 0.5, 0.5), (1.0, -3.0, 0.0)]
)
def test_penalties_and_biases_are_what_they_say(llm: LLM, penalty: tuple[float, float, float]) -> None:
    plain = greedy(llm, 24, (1.0, 0.0, 0.0), {})
    bias = {plain[0]: -100.0, plain[3]: 1.5}
    repetition, presence, frequency = penalty
    for lookup in (0, 8):
        (completion,) = llm.complete(
            [PROMPT],
            max_tokens=24,
            ignore_eos=True,
            repetition_penalty=repetition,
            presence_penalty=presence,
            frequency_penalty=frequency,
            logit_bias=bias,
            lookup=lookup,
        )
        assert completion.token_ids == greedy(llm, 24, penalty, bias)


def test_the_text_does_not_end_too_early(llm: LLM) -> None:
    (eos,) = llm.tokenizer.eos_ids
    options: dict[str, Any] = {"max_tokens": 20, "logit_bias": {eos: 1e6}}
    (at_once,) = llm.complete([PROMPT], **options)
    (later,) = llm.complete([PROMPT], **options, min_tokens=7)
    assert at_once.token_ids == [eos]
    assert later.token_ids[-1] == eos and later.completion_tokens == 8 and eos not in later.token_ids[:-1]
    (whole,) = llm.complete([PROMPT], max_tokens=20, ignore_eos=True)
    stop = whole.text[3:5]
    (stopped,) = llm.complete([PROMPT], max_tokens=20, stop=stop, ignore_eos=True)
    (past,) = llm.complete([PROMPT], max_tokens=20, stop=stop, min_tokens=10, ignore_eos=True)
    straddling = whole.text[2:8]  # begins in an early token, ends in a later one
    lengths = [c.completion_tokens for c in llm.complete([PROMPT], max_tokens=20, stop=straddling, ignore_eos=True)]
    (late,) = llm.complete([PROMPT], max_tokens=20, stop=straddling, min_tokens=lengths[0], ignore_eos=True)
    assert late.stop_reason == "stop" and late.text == whole.text[:2]
    assert stopped.completion_tokens < 10 <= past.completion_tokens
    with pytest.raises(ArgumentError, match="min_tokens"):
        llm.generate("Once", max_tokens=3, min_tokens=4)


class Alternate:
    """Allows two sets of ids in turn."""

    def __init__(self, *sets: Sequence[int], words: int) -> None:
        self.sets, self.words, self.count = sets, words, 0

    def mask(self) -> np.ndarray:
        mask = np.zeros(self.words, np.uint32)
        for token in self.sets[self.count % len(self.sets)]:
            mask[token // 32] |= np.uint32(1 << token % 32)
        return mask

    def advance(self, token_id: int) -> None:
        assert token_id in self.sets[self.count % len(self.sets)]
        self.count += 1

    def forced(self) -> Sequence[int]:
        return ()


@pytest.mark.parametrize("temperature", [0.0, 50.0])
def test_only_what_a_mask_allows_is_chosen(llm: LLM, temperature: float) -> None:
    even, few = range(0, 1000, 2), [31, 32, 63, 64, 999]
    words = -(-1000 // 32)
    finished: SimpleQueue[Request] = SimpleQueue()
    generation = llm.generation(
        PROMPT,
        done=finished.put,
        constraint=Alternate(even, few, words=words),
        max_tokens=40,
        temperature=temperature,
        seed=1,
        ignore_eos=True,
        lookup=8,
    )
    llm.submit([generation])
    finished.get(timeout=60)
    assert generation.error is None
    ids = generation.completion().token_ids
    assert all(token in even for token in ids[::2]) and all(token in few for token in ids[1::2])
    if temperature:
        assert set(ids[1::2]) == set(few)


def test_a_mask_that_allows_nothing_fails_its_request(llm: LLM) -> None:
    finished: SimpleQueue[Request] = SimpleQueue()
    generation = llm.generation(PROMPT, done=finished.put, constraint=Alternate([], words=4), max_tokens=4)
    llm.submit([generation])
    finished.get(timeout=60)
    assert isinstance(generation.error, ArgumentError)


@pytest.mark.parametrize(
    "options",
    [
        {"logprobs": -1},
        {"logprobs": True},
        {"logit_bias": {-1: 1.0}},
        {"logit_bias": {1: float("nan")}},
        {"logit_bias": [1]},
        {"presence_penalty": float("inf")},
        {"frequency_penalty": "much"},
        {"frequency_penalty": 10**400},
        {"logit_bias": {10**6: 1.0}},
        {"max_tokens": "5"},
        {"min_tokens": -1},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(llm: LLM, options: dict[str, object]) -> None:
    with pytest.raises(ArgumentError):
        llm.generate("Once", **{"max_tokens": 4, **options})
