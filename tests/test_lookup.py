"""Prompt lookup: what the index guesses, and that drafting changes the speed of a text but never the text."""

from __future__ import annotations

from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna._native import BLOCK_SIZE
from sterna.engine.backend import Span
from sterna.engine.blocks import BlockAllocator, extend_block_keys
from sterna.engine.llm import LLM
from sterna.engine.lookup import NGRAMS, PromptLookup
from sterna.engine.request import Request
from sterna.engine.scheduler import ROWS_WITH_DRAFTS

from .helpers import DATA, QWEN35, tiny_checkpoint

TINY = "tiny-bitnet-b158-i2_s.gguf"
NOVEL = "She looked at the sea. He looked at the sea. They all looked at"
CYCLE = [5, 9, 3, 7] * 20
"""Its own end is guessed right, so drafting begins with the first pass, whatever the model then generates."""


@pytest.fixture(scope="module", params=["embedded", TINY, "hybrid"])
def llm(request: pytest.FixtureRequest) -> LLM:
    if request.param == "hybrid":
        return LLM(tiny_checkpoint(replace(QWEN35, context_length=512, vocab_size=512)), threads=2)
    return LLM(None if request.param == "embedded" else DATA / request.param, threads=2)


@pytest.fixture(scope="module")
def embedded() -> LLM:
    return LLM(threads=2)


def allocator(llm: LLM) -> BlockAllocator:
    """The allocator of the model's only cache group."""
    (group,) = llm._cache.groups
    return group.allocator


def test_guesses_follow_the_longest_match_and_the_latest_of_these() -> None:
    def guess(*ids: int) -> int | None:
        lookup = PromptLookup(ids)
        lookup.propose(0)
        at = lookup._find(len(ids))
        return None if at is None else ids[at]

    assert guess(1, 2, 3, 4, 8, 2, 3, 5, 1, 2, 3) == 4
    assert guess(1, 2, 3, 4, 8, 2, 3, 5, 9, 2, 3) == 5
    assert guess(1, 2, 3, 4, 8, 2, 3, 5, 9, 3) is None
    assert guess(1) is None


def test_a_cycle_is_drafted_past_its_end() -> None:
    assert PromptLookup([1, 2, 3] * 12).propose(7) == [1, 2, 3, 1, 2, 3, 1]
    assert PromptLookup([4] * 30).propose(5) == [4] * 5


def test_drafts_grow_with_right_guesses_and_end_with_wrong_ones() -> None:
    ids = list(range(100))
    lookup = PromptLookup(ids)
    assert lookup.propose(8) == []
    lengths = []
    for token in range(10, 40):
        ids.append(token)
        lengths.append(len(lookup.propose(8)))
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] == 8
    for token in (60, 61, 70, 71, 80, 81, 90, 91):  # each pair occurred before, but with another token after it
        ids.append(token)
        length = len(lookup.propose(8))
    assert length == 0


@given(st.lists(st.integers(0, 2), max_size=60))
def test_the_growing_index_finds_what_a_search_finds(tokens: list[int]) -> None:
    ids: list[int] = []
    lookup = PromptLookup(ids)
    for token in tokens:
        ids.append(token)
        lookup.propose(2)
        expected = next(
            (
                start + n
                for n in NGRAMS
                for start in range(len(ids) - n - 1, -1, -1)
                if ids[start : start + n] == ids[-n:] and n <= len(ids)
            ),
            None,
        )
        assert lookup._find(len(ids)) == expected


OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"max_tokens": 200, "ignore_eos": True},
    "sampled": {"max_tokens": 150, "ignore_eos": True, "temperature": 0.3, "seed": 5},
    "narrow": {"max_tokens": 100, "ignore_eos": True, "temperature": 0.8, "top_k": 5, "top_p": 0.9, "seed": 1},
    "penalty": {"max_tokens": 150, "ignore_eos": True, "repetition_penalty": 1.05},
    "one": {"max_tokens": 1},
    "two": {"max_tokens": 2, "ignore_eos": True},
    "context": {"ignore_eos": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_text_is_the_same(llm: LLM, name: str) -> None:
    for prompt in ([11, 12, 13], CYCLE, CYCLE[:62]):
        (plain,) = llm.complete([prompt], **OPTIONS[name])
        (drafted,) = llm.complete([prompt], **OPTIONS[name], lookup=8)
        assert drafted.token_ids == plain.token_ids and drafted.text == plain.text
        assert drafted.stop_reason == plain.stop_reason and plain.draft_tokens == 0
        assert 0 <= drafted.accepted_tokens <= drafted.draft_tokens


def test_copying_takes_fewer_passes(embedded: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    forward = embedded._loop.backend.forward
    monkeypatch.setattr(embedded._loop.backend, "forward", lambda spans: passes.append(spans) or forward(spans))
    (completion,) = embedded.complete([NOVEL], max_tokens=200, ignore_eos=True, lookup=8)
    assert len(passes) + completion.accepted_tokens == 200
    assert completion.accepted_tokens > 100


@pytest.mark.parametrize("length", range(1, 12))
def test_every_length_and_every_cap_ends_alike(embedded: LLM, length: int) -> None:
    (plain,) = embedded.complete([NOVEL], max_tokens=40 + length, ignore_eos=True)
    for lookup in (1, 2, 5, 100):
        (drafted,) = embedded.complete([NOVEL], max_tokens=40 + length, ignore_eos=True, lookup=lookup)
        assert drafted.token_ids == plain.token_ids and drafted.completion_tokens == 40 + length


def test_stop_strings_and_the_end_of_text_inside_a_draft(embedded: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = embedded.complete([NOVEL], max_tokens=120, ignore_eos=True)
    tail = whole.text[-200:]
    for stop in (tail[at : at + 12] for at in range(0, 150, 11)):
        plain, drafted = (embedded.complete([NOVEL], max_tokens=120, stop=stop, lookup=n)[0] for n in (0, 8))
        assert (drafted.token_ids, drafted.text, drafted.stop_reason) == (plain.token_ids, plain.text, "stop")
    ends = []
    for token in dict.fromkeys(reversed(whole.token_ids)):
        monkeypatch.setattr(type(embedded.tokenizer), "eos_ids", frozenset({token}))
        plain, drafted = (embedded.complete([NOVEL], max_tokens=120, lookup=n)[0] for n in (0, 8))
        assert (drafted.token_ids, drafted.text, drafted.stop_reason) == (plain.token_ids, plain.text, "eos")
        ends.append(drafted.accepted_tokens)
    assert max(ends) > 0


def test_streams_give_the_same_text(embedded: LLM) -> None:
    expected = embedded.generate(NOVEL, max_tokens=100, ignore_eos=True)
    assert "".join(embedded.stream(NOVEL, max_tokens=100, ignore_eos=True, lookup=8)) == expected


def test_batches_mix_sequences_that_draft_and_that_do_not(llm: LLM) -> None:
    prompts = [CYCLE, [1, 2, 3], CYCLE[:7], list(range(1, 150)), CYCLE[:63], [4] * 30, [8] * 3, [9], [7, 7]]
    for n in (2, 4, len(prompts)):
        plain = llm.complete(prompts[:n], max_tokens=70, ignore_eos=True)
        drafted = llm.complete(prompts[:n], max_tokens=70, ignore_eos=True, lookup=8)
        assert [c.token_ids for c in drafted] == [c.token_ids for c in plain]
    finished: SimpleQueue[Request] = SimpleQueue()
    options = {"max_tokens": 60, "ignore_eos": True, "done": finished.put}
    pair = [llm.generation(CYCLE, **options, lookup=k) for k in (8, 0)]
    llm.submit(pair)
    assert {finished.get(timeout=60), finished.get(timeout=60)} == set(pair)
    assert pair[0].token_ids == pair[1].token_ids and pair[1].draft_tokens == 0


def test_drafts_never_make_a_pass_longer_than_is_worth_it(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    forward = llm._loop.backend.forward

    def watched(spans: list[Span]) -> np.ndarray:
        if all(span.outputs == len(span.token_ids) for span in spans):
            rows.append((len(spans), sum(span.outputs for span in spans)))
        return forward(spans)

    monkeypatch.setattr(llm._loop.backend, "forward", watched)
    for n in (1, 3, ROWS_WITH_DRAFTS, 12):
        llm.complete([[*CYCLE, i] * 2 for i in range(n)], max_tokens=40, ignore_eos=True, lookup=100)
    assert all(total <= max(ROWS_WITH_DRAFTS, sequences) for sequences, total in rows)
    assert any(total > sequences for sequences, total in rows)


def test_rejected_drafts_are_never_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """With wrong drafts across block borders, the key of every cached block is that of tokens in the final text, and a
    prompt that starts from these blocks is continued as in a fresh engine."""
    llm = LLM(DATA / TINY, threads=2)
    monkeypatch.setattr(PromptLookup, "propose", lambda self, most: [1, 2, 3, 4, 5, 6, 7][: max(most, 0)])
    prompt = list(range(3, 60))
    (completion,) = llm.complete([prompt], max_tokens=150, ignore_eos=True, lookup=7)
    assert completion.draft_tokens > 500 and completion.accepted_tokens < 20
    keys: list[bytes] = []
    extend_block_keys(keys, [*prompt, *completion.token_ids], BLOCK_SIZE)
    known = allocator(llm)._by_key
    assert 0 < len(known) <= len(keys)
    assert set(known) == set(keys[: len(known)])
    longer = [*prompt, *completion.token_ids[: 3 * BLOCK_SIZE - len(prompt)], 17]
    (cached,) = llm.complete([longer], max_tokens=30, ignore_eos=True, lookup=7)
    (fresh,) = LLM(DATA / TINY, threads=2).complete([longer], max_tokens=30, ignore_eos=True)
    assert cached.token_ids == fresh.token_ids


def test_right_drafts_across_block_borders_are_published(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = LLM(DATA / TINY, threads=2)
    prompt = list(range(3, 60))
    (plain,) = llm.complete([prompt], max_tokens=150, ignore_eos=True)
    text = [*prompt, *plain.token_ids]
    oracle = lambda self, most: text[len(self._ids) :][: max(most, 0)]  # noqa: E731
    monkeypatch.setattr(PromptLookup, "propose", oracle)
    llm = LLM(DATA / TINY, threads=2)
    (drafted,) = llm.complete([prompt], max_tokens=150, ignore_eos=True, lookup=7)
    assert drafted.token_ids == plain.token_ids and drafted.accepted_tokens == drafted.draft_tokens > 120
    keys: list[bytes] = []
    extend_block_keys(keys, text, BLOCK_SIZE)
    assert set(allocator(llm)._by_key) == set(keys[: (len(text) - 1) // BLOCK_SIZE])
    (again,) = llm.complete([text[:-1]], max_tokens=1, ignore_eos=True)
    assert again.token_ids == text[-1:]
