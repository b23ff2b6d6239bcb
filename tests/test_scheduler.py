"""Requests and their blocks: preemption, windows that move on, prefixes that are shared."""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna._native import BLOCK_SIZE
from sterna.engine import native
from sterna.engine.backend import NO_ADAPTER, CachePool, LoadedAdapter, Mix, StatePool
from sterna.engine.kv_cache import NO_BLOCK, KvCache, SequenceBlocks
from sterna.engine.options import TOKENS_PER_PASS
from sterna.engine.request import HiddenRequest, Request
from sterna.engine.scheduler import Chunk
from sterna.model.config import ModelConfig

from .helpers import GEMMA3, QWEN35, TINY, tiny_checkpoint

CONFIGS = {
    "bitnet": replace(TINY, context_length=320),
    "windowed": replace(GEMMA3, context_length=320, sliding_window=70),
    "hybrid": replace(QWEN35, context_length=320),
}
PROMPTS = [np.random.default_rng(i).integers(0, 96, 1 + 7 * i % 150).tolist() for i in range(64)]


@pytest.mark.parametrize("kv", ["f16", "int8"])
@pytest.mark.parametrize("name", CONFIGS)
def test_many_requests_of_unknown_length_in_a_small_pool_give_the_texts_of_lone_runs(name: str, kv: str) -> None:
    """Each may fill its context, and the pool holds eight contexts: some are preempted, and computed again."""
    config = CONFIGS[name]
    options: dict[str, Any] = {"ignore_eos": True, "logprobs": 1, "temperature": 0.7, "seed": 3}
    small = LLM(tiny_checkpoint(config), threads=2, kv=kv, pool_tokens=8 * config.context_length)
    together = small.complete(PROMPTS, **options)
    assert small._loop.scheduler.preemptions > 0
    large = LLM(tiny_checkpoint(config), threads=2, kv=kv)
    for prompt, result in zip(PROMPTS[::9], together[::9], strict=True):
        (alone,) = large.complete([prompt], **options)
        assert result.token_ids == alone.token_ids and result.logprobs == alone.logprobs
        assert result.prompt_tokens + result.completion_tokens == config.context_length
    assert large._loop.scheduler.preemptions == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_cache_grows_no_further_than_its_limit(name: str) -> None:
    llm = LLM(tiny_checkpoint(CONFIGS[name]), threads=2)
    options: dict[str, Any] = {"ignore_eos": True, "max_tokens": 100}
    free = llm.complete(PROMPTS[:12], **options)
    taken, least = llm.statistics.cache_bytes, llm.statistics.least_cache_bytes
    assert taken > 2 * least and llm.statistics.preemptions == 0
    llm = LLM(tiny_checkpoint(CONFIGS[name]), threads=2)
    for limit in (0, 2 * least, 3 * taken):
        llm.limit_cache(limit)
        assert [each.token_ids for each in llm.complete(PROMPTS[:12], **options)] == [each.token_ids for each in free]
        assert llm.statistics.cache_bytes <= max(limit, least) and llm.statistics.cache_use == 0
    assert llm.statistics.preemptions > 0 and llm.statistics.cache_bytes > 2 * least


def test_hidden_rows_of_a_preempted_request_come_once_each() -> None:
    llm = LLM(tiny_checkpoint(CONFIGS["bitnet"]), threads=2, pool_tokens=640)
    text = PROMPTS[20] * 2
    expected = llm.hidden(text)
    finished: SimpleQueue[Request] = SimpleQueue()
    others = [llm.generation(prompt, done=finished.put, ignore_eos=True) for prompt in PROMPTS[:6]]
    llm.submit(others)
    for _ in range(8):
        assert np.array_equal(llm.hidden(text), expected)
    for _ in others:
        finished.get(timeout=60)


@pytest.mark.parametrize("window", [1, 64, 100])
def test_layers_with_a_window_keep_no_more_than_it(window: int) -> None:
    config = replace(GEMMA3, context_length=2048, sliding_window=window)
    llm = LLM(tiny_checkpoint(config), threads=2)
    in_use: list[list[int]] = []

    class Watch:
        """Notes the blocks in use at each token."""

        def mask(self) -> None:
            in_use.append([BLOCKS - group.allocator.available for group in llm._cache.groups])

        def advance(self, token_id: int) -> None: ...

        def forced(self) -> tuple[()]:
            return ()

    BLOCKS = llm._loop.backend.pools[0].blocks
    finished: SimpleQueue[Request] = SimpleQueue()
    prompt = np.random.default_rng(0).integers(0, 96, 1000).tolist()
    llm.submit([llm.generation(prompt, done=finished.put, constraint=Watch(), max_tokens=500, ignore_eos=True)])
    finished.get(timeout=60)
    windows = [pool.window for pool in llm._loop.backend.pools]
    after_prompt, while_decoding = (
        dict(zip(windows, np.max(counts, axis=0), strict=True)) for counts in (in_use[:1], in_use[1:])
    )
    assert after_prompt[window] <= -(-(window + TOKENS_PER_PASS) // BLOCK_SIZE) + 1
    assert while_decoding[window] <= -(-window // BLOCK_SIZE) + 1
    assert while_decoding[None] == -(-1499 // BLOCK_SIZE)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_known_prefix_is_not_computed_again(config: ModelConfig) -> None:
    llm = LLM(tiny_checkpoint(config), threads=2)
    prompt = PROMPTS[20] * 2
    (first,) = llm.complete([prompt], max_tokens=20, ignore_eos=True)
    (again,) = llm.complete([[*prompt, *first.token_ids[:10]]], max_tokens=10, ignore_eos=True)
    assert first.cached_tokens == 0
    assert again.cached_tokens == (len(prompt) + 10) // BLOCK_SIZE * BLOCK_SIZE > 0
    assert again.token_ids == first.token_ids[10:]


def test_prompts_with_a_common_beginning_share_a_state_from_the_third_on() -> None:
    """The second shows where they part; from then on the state there is kept."""
    llm = LLM(tiny_checkpoint(CONFIGS["hybrid"]), threads=2)
    beginning = np.random.default_rng(1).integers(0, 96, 150).tolist()
    prompts = [beginning + np.random.default_rng(n).integers(0, 96, 120).tolist() for n in range(4)]
    options: dict[str, Any] = {"max_tokens": 8, "ignore_eos": True, "logprobs": 1}
    results = [llm.complete([prompt], **options)[0] for prompt in prompts]
    assert [result.cached_tokens for result in results] == [0, 0, 128, 128]
    for prompt, result in zip(prompts, results, strict=True):
        (alone,) = LLM(tiny_checkpoint(CONFIGS["hybrid"]), threads=1).complete([prompt], **options)
        assert alone.token_ids == result.token_ids and alone.logprobs == result.logprobs


def test_a_conversation_with_a_state_goes_on_from_its_last_whole_block() -> None:
    llm = LLM(tiny_checkpoint(CONFIGS["hybrid"]), threads=2)
    text: list[int] = []
    for turn in range(4):
        text += np.random.default_rng(turn).integers(0, 96, 30).tolist()
        (answer,) = llm.complete([text], max_tokens=40, ignore_eos=True)
        assert answer.cached_tokens == max(len(text) - 31, 0) // BLOCK_SIZE * BLOCK_SIZE
        (again,) = llm.complete([text], max_tokens=40, ignore_eos=True)
        assert again.token_ids == answer.token_ids
        assert again.cached_tokens == (len(text) - 1) // BLOCK_SIZE * BLOCK_SIZE
        text += answer.token_ids


def test_a_sequence_keeps_one_slot_and_leaves_the_states_at_which_others_branch_off() -> None:
    cache = KvCache([CachePool(40, None), StatePool(8, 4)], 64, 640, 128)
    tokens = list(range(300))
    first = sequence(cache, tokens)
    kept = first.tables[1][-1]
    assert first.tables[1] == [NO_BLOCK] * 4 + [kept]
    assert available(cache)[1] == 7
    cache.release(first)  # its state after 256 tokens is known
    assert available(cache)[1] == 8
    second = SequenceBlocks()
    assert cache.match(second, [*tokens, 0]) == 256
    assert cache.provide(second, 320) and second.tables[1] == [NO_BLOCK] * 3 + [kept, second.tables[1][4]]
    other = sequence(cache, [*tokens[:130], *range(500, 650)])  # no state at 128 is known, but will be
    assert cache.match(SequenceBlocks(), tokens[:140]) == 128
    for blocks in (second, other):
        cache.release(blocks)


def test_a_sequence_that_was_never_computed_leaves_no_state() -> None:
    cache = KvCache([CachePool(40, None), StatePool(8, 4)], 64, 640, 128)
    tokens = list(range(200))
    blocks = SequenceBlocks()
    cache.match(blocks, tokens)
    assert cache.provide(blocks, 200)
    cache.release(blocks)
    assert available(cache) == [40, 8]
    assert cache.match(SequenceBlocks(), tokens) == 0


def test_few_slots_for_states_are_shared_by_preemption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "STATE_SLOTS", 3)
    llm = LLM(tiny_checkpoint(CONFIGS["hybrid"]), threads=2)
    options: dict[str, Any] = {"max_tokens": 70, "ignore_eos": True}
    together = llm.complete(PROMPTS[10:20], **options)
    for prompt, result in zip(PROMPTS[10:20], together, strict=True):
        assert llm.complete([prompt], **options)[0].token_ids == result.token_ids


def sequence(cache: KvCache, tokens: list[int], salt: bytes = b"") -> SequenceBlocks:
    """A sequence whose tokens have been computed in passes of 128."""
    blocks = SequenceBlocks(salt)
    for start in range(cache.match(blocks, tokens[:-1]), len(tokens), 128):
        end = min(start + 128, len(tokens))
        assert cache.provide(blocks, end)
        cache.computed(blocks, tokens, start, end)
    return blocks


def available(cache: KvCache) -> list[int]:
    """Blocks that each group could still give."""
    return [group.allocator.available for group in cache.groups]


def test_shared_blocks_are_of_the_same_tokens_and_the_same_salt() -> None:
    cache = KvCache([CachePool(40, None)], 64, 640, 128)
    tokens = list(range(300))
    first = sequence(cache, tokens)
    same, salted, other = (
        sequence(cache, tokens),
        sequence(cache, tokens, b"adapter"),
        sequence(cache, [*tokens[:100], 7, *tokens[101:]]),
    )
    (a,), (b,), (c,), (d,) = first.tables, same.tables, salted.tables, other.tables
    assert a[:4] == b[:4] and a[4] != b[4]
    assert not set(a) & set(c)
    assert a[0] == d[0] and not set(a[1:]) & set(d[1:])


def test_blocks_of_another_adapter_are_not_shared() -> None:
    cache = KvCache([CachePool(40, None)], 64, 640, 128)
    tokens = list(range(200))
    a, b = (LoadedAdapter(name, serial, None) for serial, name in enumerate("ab"))
    mixes = [NO_ADAPTER, Mix(((a, 1.0),)), Mix(((a, 1.0),)), Mix(((a, 0.5),)), Mix(((b, 1.0),))]
    requests = [HiddenRequest(tokens, lambda request: None, mix=mix) for mix in mixes]
    lengths = []
    for request in requests:
        lengths.append(cache.match(request.blocks, tokens))
        cache.provide(request.blocks, len(tokens))
        cache.computed(request.blocks, tokens, lengths[-1], len(tokens))
    assert lengths == [0, 0, 192, 0, 0]


@pytest.mark.parametrize("length", [3, 4, 63, 64, 66, 70, 128, 150])
def test_blocks_are_copied_for_what_begins_like_them(length: int) -> None:
    cache = KvCache([CachePool(40, None), CachePool(40, 100)], 64, 640, 128)
    tokens = list(range(1, 151))
    first = sequence(cache, tokens)
    cache.share_parts(first, tokens)
    sources = [list(table) for table in first.tables]
    cache.release(first)
    second = SequenceBlocks()
    known = cache.match(second, [*tokens[:length], *range(1000, 1040)])
    whole, part = divmod(length, 64)
    assert known == (length if part >= 4 else length - part)
    expected = [(group, sources[group][whole], second.tables[group][-1]) for group in (0, 1)] if part >= 4 else []
    assert cache.copies() == expected and cache.copies() == []
    assert all(source not in second.tables[group] for group, source, _ in expected)
    cache.release(second)
    assert available(cache) == [40, 40]


def test_a_block_that_is_taken_for_others_is_copied_no_more() -> None:
    cache = KvCache([CachePool(2, None)], 64, 128, 128)
    tokens = list(range(1, 41))
    first = sequence(cache, tokens)
    cache.share_parts(first, tokens)
    cache.release(first)
    assert cache.match(SequenceBlocks(salt=b"other"), tokens) == 0
    both = sequence(cache, list(range(500, 620)))
    cache.release(both)
    assert cache.match(SequenceBlocks(), tokens) == 0 and cache.copies() == []


def test_nothing_is_copied_where_no_block_is_left() -> None:
    cache = KvCache([CachePool(1, None)], 64, 64, 64)
    tokens = list(range(1, 41))
    cache.share_parts(sequence(cache, tokens), tokens)  # whose block is in use
    assert available(cache) == [0]
    assert cache.match(SequenceBlocks(), tokens) == 0 and cache.copies() == []


def test_prompts_that_begin_alike_share_blocks_though_they_come_together() -> None:
    llm = LLM(tiny_checkpoint(CONFIGS["bitnet"]), threads=2)
    prompts = [[*PROMPTS[20] * 2, n] for n in range(6)]
    first, *others = llm.complete(prompts, max_tokens=4, ignore_eos=True)
    assert first.cached_tokens == 0
    assert all(other.cached_tokens >= BLOCK_SIZE for other in others)


def test_what_cannot_share_is_not_admitted_as_if_it_could() -> None:
    """Hidden rows of all tokens are wanted of a text whose blocks others use, in a pool that is nearly full."""
    llm = LLM(tiny_checkpoint(replace(TINY, context_length=1024)), threads=2, pool_tokens=2048)
    prompts = [np.random.default_rng(n).integers(0, 96, 500).tolist() for n in range(3)]
    finished: SimpleQueue[Request] = SimpleQueue()
    llm.submit([llm.generation(prompt, done=finished.put, max_tokens=100, ignore_eos=True) for prompt in prompts])
    expected = llm.hidden(prompts[0])
    for _ in prompts:
        finished.get(timeout=60)
    assert llm._loop.scheduler.preemptions <= 1
    assert np.array_equal(llm.hidden(prompts[0]), expected)


def test_all_blocks_come_back() -> None:
    cache = KvCache([CachePool(30, None), CachePool(30, 100)], 64, 640, 128)
    sequences = [sequence(cache, list(range(n, n + 300)), bytes([n])) for n in range(4)]
    assert available(cache) == [30 - 4 * 5, 30 - 4 * 2]
    windowed = sequences[0].tables[1]
    assert windowed[:3] == [NO_BLOCK] * 3 and NO_BLOCK not in windowed[3:]
    for blocks in sequences:
        cache.release(blocks)
    assert available(cache) == [30, 30]


def test_what_does_not_fit_takes_nothing() -> None:
    cache = KvCache([CachePool(4, None), CachePool(9, 100)], 64, 640, 128)
    blocks = SequenceBlocks()
    cache.match(blocks, [])
    assert not cache.provide(blocks, 5 * 64)
    assert available(cache) == [4, 9]
    assert cache.provide(blocks, 4 * 64)
    assert not cache.can_begin(SequenceBlocks(), [], 1, 0)


def test_the_background_runs_only_when_nobody_else_does() -> None:
    llm = LLM(tiny_checkpoint(CONFIGS["bitnet"]), threads=1)
    scheduler, finished = llm._loop.scheduler, SimpleQueue[Request]()
    kinds: list[set[bool]] = []
    schedule = scheduler.schedule
    ready = threading.Event()

    def watched() -> list[Chunk]:
        chunks = schedule()
        kinds.append({chunk.request.background for chunk in chunks})
        if len(kinds) == 5:
            llm.submit(asked)
            ready.set()
        return chunks

    scheduler.schedule = watched  # type: ignore[method-assign]
    batch = [llm.generation(prompt, done=finished.put, max_tokens=40, ignore_eos=True) for prompt in PROMPTS[:4]]
    for request in batch:
        request.background = True
    asked = [llm.generation(prompt, done=finished.put, max_tokens=10, ignore_eos=True) for prompt in PROMPTS[4:6]]
    llm.submit(batch)
    assert ready.wait(60)
    ended = [finished.get(timeout=60) for _ in range(6)]
    assert ended[:2] == asked or ended[:2] == asked[::-1]
    assert all(len(kind) == 1 for kind in kinds)
    urgent = [n for n, kind in enumerate(kinds) if kind == {False}]
    assert urgent == list(range(5, 5 + len(urgent)))  # from the very next pass on, without a break


def test_the_background_gives_up_its_blocks_and_its_texts_stay_the_same() -> None:
    options: dict[str, Any] = {"max_tokens": 120, "ignore_eos": True, "seed": 3}
    expected = [each.text for each in LLM(tiny_checkpoint(CONFIGS["bitnet"])).complete(PROMPTS[:12], **options)]
    llm = LLM(tiny_checkpoint(CONFIGS["bitnet"]), threads=1, pool_tokens=3 * 320)
    finished: SimpleQueue[Request] = SimpleQueue()
    requests = [llm.generation(prompt, done=finished.put, **options) for prompt in PROMPTS[:12]]
    for request in requests[:6]:
        request.background = True
    llm.submit(requests)
    ended = [finished.get(timeout=60) for _ in requests]
    assert {request.background for request in ended[:6]} == {False}
    assert llm._loop.scheduler.preemptions > 0
    assert [request.completion().text for request in requests] == expected
