"""A token's logits depend on its own sequence alone, to the bit."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from sterna import _native
from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.engine import scheduler as scheduler_module
from sterna.engine.backend import Span
from sterna.engine.llm import LLM
from sterna.engine.machine import choose_isa
from sterna.engine.native import NativeBackend
from sterna.model.architectures import build_plan
from sterna.model.config import ModelConfig
from sterna.model.plan import Head

from .helpers import DATA, GEMMA3, QWEN3, QWEN35, TINY, float_tensor, tiny_checkpoint

RNG = np.random.default_rng(11)
PROMPT = RNG.integers(0, 512, 150).tolist()
OTHERS = [RNG.integers(0, 512, n).tolist() for n in (1, 3, 17, 64, 65, 90, 128)]
WIDE = replace(TINY, hidden_size=640, intermediate_size=1408, num_layers=1, num_heads=5, num_kv_heads=1, head_dim=128)
"""Enough rows for lookup kernels, where an instruction set has them."""
MODELS = ("tiny-bitnet-b158-i2_s.gguf", "tiny-llama-i2_s.gguf", "qwen3", "gemma3", "wide", "windowed", "hybrid")
KV_TYPES = ("f16", "int8", "f32")


def model(name: str) -> Checkpoint:
    """A golden file, or a random ternary model, all but `wide` with input norms before all matrices."""
    if name.endswith(".gguf"):
        return open_checkpoint(DATA / name).load()
    windowed = replace(GEMMA3, sliding_window=37)
    config = {"qwen3": QWEN3, "gemma3": GEMMA3, "wide": WIDE, "windowed": windowed, "hybrid": QWEN35}[name]
    return tiny_checkpoint(replace(config, vocab_size=512, context_length=256), input_norms=name != "wide")


def make_backend(name: str, threads: int, kv: str = "f16") -> NativeBackend:
    checkpoint = model(name)
    plan = build_plan(checkpoint.config, checkpoint.tensors)
    return NativeBackend(plan, checkpoint.tensors, isa=choose_isa(), threads=threads, blocks=64, kv=kv)


def logits(backend: NativeBackend, chunk: int, crowd: bool, prefix_hit: bool) -> np.ndarray:
    """Logits of PROMPT, which enters in chunks, alone or with other sequences in the same passes.

    With a prefix hit, the keys and values of the first 64 positions come from an earlier pass; the logits begin there.
    """
    blocks, free = [40, 7, 23], iter(range(24, 40))
    company = [(tokens, [next(free) for _ in range(2)]) for tokens in OTHERS] if crowd else []
    first, groups = 64 if prefix_hit else 0, len(backend.pools)
    if prefix_hit:
        backend.forward([Span(PROMPT[:128], 0, [blocks] * groups, 0)])
    rows = []
    for start in range(first, len(PROMPT), chunk):
        others = [Span(tokens[: start % 64 + 1], 0, [table] * groups) for tokens, table in company]
        part = PROMPT[start : start + chunk]
        spans = [*others[:4], Span(part, start, [blocks] * groups, len(part)), *others[4:]]
        hidden = backend.forward(spans)
        rows.append(hidden[len(others[:4]) : len(hidden) - len(others[4:])])
    return backend.logits(np.concatenate(rows))


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("name", MODELS)
def test_logits_do_not_depend_on_chunks_threads_company_or_prefix(name: str, kv: str) -> None:
    expected = logits(make_backend(name, 1, kv), len(PROMPT), crowd=False, prefix_hit=False)
    for threads in (1, 2):
        backend = make_backend(name, threads, kv)
        for chunk, crowd, prefix_hit in itertools.product((1, 7, 64, len(PROMPT)), (False, True), (False, True)):
            got = logits(backend, chunk, crowd, prefix_hit)
            assert np.array_equal(got, expected[-len(got) :]), (threads, chunk, crowd, prefix_hit)
            assert len(got) == len(PROMPT) - 64 * prefix_hit


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("name", MODELS)
def test_instruction_sets_give_the_same_bits(name: str, kv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = LLM(model(name), kv=kv).logits(PROMPT)
    monkeypatch.setenv("STERNA_ISA", "scalar")
    assert np.array_equal(LLM(model(name), kv=kv).logits(PROMPT), expected)


@pytest.mark.parametrize("tables", ["0", "1"])
@pytest.mark.parametrize("isa", _native.available_isas())
def test_lookup_tables_give_the_same_bits(isa: str, tables: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = LLM(model("wide")).logits(PROMPT)
    monkeypatch.setenv("STERNA_ISA", isa)
    monkeypatch.setenv("STERNA_TABLES", tables)
    assert np.array_equal(LLM(model("wide")).logits(PROMPT), expected)


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("window", [None, 700])
def test_a_long_context_divided_among_threads_gives_the_same_bits(kv: str, window: int | None) -> None:
    """Covers several segments of attention: in a pass of few tokens, each segment goes to another thread."""
    windowed = {} if window is None else {"sliding_window": window, "sliding_layers": (1,)}
    checkpoint = tiny_checkpoint(replace(TINY, context_length=2048, **windowed))
    plan = build_plan(checkpoint.config, checkpoint.tensors)
    tokens = np.random.default_rng(2).integers(0, TINY.vocab_size, 1600).tolist()
    blocks = list(range(25))

    def last_rows(threads: int, chunk: int) -> np.ndarray:
        backend = NativeBackend(plan, checkpoint.tensors, isa=choose_isa(), threads=threads, blocks=25, kv=kv)
        for start in range(0, 1520, 380):
            backend.forward([Span(tokens[start : start + 380], start, [blocks] * len(backend.pools), 0)])
        parts = [tokens[start : start + chunk] for start in range(1520, 1600, chunk)]
        spans = [Span(part, 1520 + i * chunk, [blocks] * len(backend.pools), len(part)) for i, part in enumerate(parts)]
        return np.concatenate([backend.forward([span]) for span in spans])

    expected = last_rows(1, 80)
    for threads, chunk in ((1, 1), (2, 1), (3, 5), (5, 16), (2, 80)):
        assert np.array_equal(last_rows(threads, chunk), expected), (threads, chunk)


def test_generation_is_the_same_alone_in_a_crowd_and_from_the_prefix_cache() -> None:
    llm = LLM(DATA / MODELS[0], threads=2)
    options = {"max_tokens": 20, "ignore_eos": True, "temperature": 0.9, "seed": 5}
    (alone,) = llm.complete([PROMPT], **options)
    (again,) = llm.complete([PROMPT], **options)
    crowd = llm.complete([*OTHERS, PROMPT], **options)
    assert alone.token_ids == again.token_ids == crowd[-1].token_ids
    assert LLM(DATA / MODELS[0], threads=1).complete([PROMPT], **options)[0].token_ids == alone.token_ids


def test_small_steps_give_the_same_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_tokens": 12, "ignore_eos": True}
    expected = [c.token_ids for c in LLM(DATA / MODELS[0]).complete([PROMPT, *OTHERS], **options)]
    monkeypatch.setattr(scheduler_module, "TOKENS_PER_PASS", 7)
    assert [c.token_ids for c in LLM(DATA / MODELS[0]).complete([PROMPT, *OTHERS], **options)] == expected


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("config", [TINY, QWEN3, GEMMA3, QWEN35], ids=lambda config: config.architecture)
def test_a_slot_keeps_its_rows_while_others_come_and_go(config: ModelConfig, width: int) -> None:
    """Slots share memory, some with padding (64): the rows of a slot are the same, however the plan continues."""
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": width // 4, "vocab_size": 512}
    checkpoint = tiny_checkpoint(replace(config, **sizes, rope_divisors=None), input_norms=True)
    plan = build_plan(checkpoint.config, checkpoint.tensors)
    written = [operation.out for operation in plan.operations]
    for slot, columns in plan.slots.items():
        tensors = checkpoint.tensors | {"head": float_tensor("head", np.zeros((1, columns)))}
        ends = (len(written), len(written) - written[::-1].index(slot))
        cuts = [replace(plan, operations=plan.operations[:end], output=slot, head=Head("head")) for end in ends]
        backends = [NativeBackend(cut, tensors, isa=choose_isa(), threads=2, blocks=2) for cut in cuts]
        tables = [[1, 0]] * len(backends[0].pools)
        whole, cut = (backend.forward([Span(PROMPT[:70], 0, tables, 70)]) for backend in backends)
        assert np.array_equal(whole, cut), slot
