"""Adapters at run time: what they compute, and that it depends on a sequence's own tokens and adapters alone."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.engine.adapters import Choice
from sterna.engine.async_llm import AsyncLLM
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.model.hadamard import Hadamard

from ..helpers import GEMMA3, QWEN3, QWEN35, TINY, relative_error, shared, tiny_checkpoint
from .random_adapters import ALL, adapted_oracle, random_adapter, saved

LLAMA = replace(TINY, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False)
ROTATED = replace(
    LLAMA,
    hadamard=Hadamard(32, frozenset({"blk.0.attn_q.weight", "blk.1.ffn_down.weight", "output.weight"}), frozenset()),
)
CONFIGS = {"bitnet": TINY, "llama": LLAMA, "qwen3": QWEN3, "gemma3": GEMMA3, "hybrid": QWEN35, "rotated": ROTATED}
PROMPT = np.random.default_rng(1).integers(0, TINY.vocab_size, 100).tolist()
MIXES: list[Choice] = [None, "a", "b", {"a": 0.5, "b": 1.0}, {"b": -2.0}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two adapters of TINY that differ in rank and in what they adapt."""
    folder = tmp_path_factory.mktemp("adapters")
    a = random_adapter(TINY, 1)
    b = random_adapter(TINY, 2, ("attn_v", "ffn_up"), rank=18, layers=(1,))
    return {"a": saved(folder / "a", a, TINY), "b": saved(folder / "b", b, TINY)}


@pytest.fixture(scope="module")
def llm(folders: dict[str, Path]) -> Iterator[LLM]:
    with LLM(tiny_checkpoint(TINY), threads=2, adapters=folders) as llm:
        yield llm


@pytest.mark.parametrize("name", CONFIGS)
def test_an_adapter_adds_what_the_oracle_says(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    checkpoint = tiny_checkpoint(config)
    targets = [target for target in ALL if name != "hybrid" or not target.startswith("attn")]
    adapter = random_adapter(config, targets=targets)
    with LLM(checkpoint, activations="float", kv="f32", adapters={"x": saved(tmp_path / "x", adapter, config)}) as llm:
        for scale in (1.0, 0.25):
            expected = adapted_oracle(checkpoint, [(adapter, scale)], activations="none", kv_dtype=np.float32)
            got = llm.logits(PROMPT[:24], adapter={"x": scale})
            assert relative_error(expected.logits(PROMPT[:24]), got) < 2e-5
        assert relative_error(llm.logits(PROMPT[:24]), got) > 1e-3


def test_several_adapters_are_added_together(folders: dict[str, Path]) -> None:
    checkpoint = tiny_checkpoint(TINY)
    mix = [(random_adapter(TINY, 1), 0.5), (random_adapter(TINY, 2, ("attn_v", "ffn_up"), 18, layers=(1,)), 1.0)]
    expected = adapted_oracle(checkpoint, mix, activations="none", kv_dtype=np.float32).logits(PROMPT[:24])
    with LLM(checkpoint, activations="float", kv="f32", adapters=folders) as llm:
        assert relative_error(expected, llm.logits(PROMPT[:24], adapter={"a": 0.5, "b": 1})) < 2e-5


def test_any_mixture_gives_the_bits_of_each_alone(folders: dict[str, Path], llm: LLM) -> None:
    prompts = [PROMPT[n % 7 : 40 + 9 * n] for n in range(2 * len(MIXES))]
    mixes = [*MIXES, *MIXES[::-1]]
    together = llm.complete(prompts, max_tokens=6, temperature=0, logprobs=2, ignore_eos=True, adapter=mixes)
    with LLM(tiny_checkpoint(TINY), threads=1, adapters=folders) as other:
        for prompt, mix, result in zip(prompts, mixes, together, strict=True):
            (alone,) = other.complete([prompt], max_tokens=6, temperature=0, logprobs=2, ignore_eos=True, adapter=mix)
            assert alone.logprobs == result.logprobs and alone.token_ids == result.token_ids
    assert len({tuple(result.token_ids) for result in together}) > 2


def test_every_instruction_set_gives_the_same_bits(
    folders: dict[str, Path], llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STERNA_ISA", "scalar")
    with LLM(tiny_checkpoint(TINY), threads=1, adapters=folders) as scalar:
        for mix in MIXES:
            assert np.array_equal(scalar.logits(PROMPT[:20], adapter=mix), llm.logits(PROMPT[:20], adapter=mix))


def test_what_adds_nothing_changes_no_bit(llm: LLM, tmp_path: Path) -> None:
    zero = random_adapter(TINY)
    zero = replace(zero, updates={name: replace(low, b=0 * low.b) for name, low in zero.updates.items()})
    llm.load_adapter("zero", saved(tmp_path / "zero", zero, TINY))
    base = llm.logits(PROMPT).tobytes()
    for mix in ("zero", {"a": 0.0}, {"zero": 3.0, "b": 0}, {}):
        assert llm.logits(PROMPT, adapter=mix).tobytes() == base
    llm.unload_adapter("zero")


def test_the_prefix_cache_is_kept_apart(folders: dict[str, Path]) -> None:
    with LLM(tiny_checkpoint(TINY), adapters=folders) as llm:
        cached = [
            llm.complete([PROMPT], max_tokens=1, adapter=mix)[0].cached_tokens
            for mix in ("a", None, {"a": 0.5}, "b", "a", {"a": 1}, {"a": 1.0, "b": 0.0}, None)
        ]
        assert cached == [0, 0, 0, 0, 64, 64, 64, 64]
        llm.unload_adapter("a")
        llm.load_adapter("a", folders["b"])
        assert llm.complete([PROMPT], max_tokens=1, adapter="a")[0].cached_tokens == 0


def test_every_call_takes_an_adapter(llm: LLM) -> None:
    text = {mix: llm.generate(PROMPT, max_tokens=4, temperature=0, adapter=mix) for mix in (None, "a")}
    assert llm.generate([PROMPT, PROMPT], max_tokens=4, temperature=0, adapter=[None, "a"]) == list(text.values())
    assert "".join(llm.stream(PROMPT, max_tokens=4, temperature=0, adapter="a")) == text["a"]
    vectors = llm.embed([PROMPT, PROMPT], adapter=["a", None])
    assert np.array_equal(vectors[:1], llm.embed([PROMPT], adapter="a")) and not np.array_equal(*vectors)
    assert llm.adapters == ["a", "b"]


def test_async_calls_take_an_adapter(llm: LLM, folders: dict[str, Path]) -> None:
    async def calls() -> tuple[str, np.ndarray, np.ndarray]:
        model = AsyncLLM(llm)
        await model.load_adapter("c", folders["a"])
        text = await model.generate(PROMPT, max_tokens=4, temperature=0, adapter="c")
        vectors, logits = await model.embed([PROMPT], adapter="c"), await model.logits(PROMPT, adapter="c")
        await model.unload_adapter("c")
        return text, vectors, logits

    text, vectors, logits = asyncio.run(calls())
    assert text == llm.generate(PROMPT, max_tokens=4, temperature=0, adapter="a")
    assert np.array_equal(vectors, llm.embed([PROMPT], adapter="a"))
    assert np.array_equal(logits, llm.logits(PROMPT, adapter="a"))


def test_unloading_waits_for_the_sequences_of_an_adapter(folders: dict[str, Path]) -> None:
    with LLM(tiny_checkpoint(TINY), adapters=folders) as llm:
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def piece(text: str) -> None:
            begun.set()
            go_on.wait(60)

        generation = llm.generation(
            PROMPT, max_tokens=3, ignore_eos=True, adapter="a", done=lambda request: ended.set(), deliver=piece
        )
        llm.submit([generation])
        assert begun.wait(60)
        unloading = threading.Thread(target=llm.unload_adapter, args=("a",))
        unloading.start()
        while "a" in llm.adapters:
            pass
        with pytest.raises(ArgumentError, match="no adapter 'a'"):
            llm.generate(PROMPT, adapter="a")
        unloading.join(0.05)
        assert unloading.is_alive() and not ended.is_set()
        go_on.set()
        unloading.join(60)
        assert not unloading.is_alive() and ended.is_set() and generation.error is None
        llm.unload_adapter("b")  # no request has it


def test_a_closed_model_has_no_adapters(folders: dict[str, Path]) -> None:
    llm = LLM(tiny_checkpoint(TINY), adapters=folders)
    handles = [weakref.ref(llm._loop.backend), *(weakref.ref(each) for each in llm._adapters._loaded.values())]
    llm.close()
    gc.collect()
    assert not any(handle() for handle in handles)
    for call in (lambda: llm.load_adapter("c", folders["a"]), lambda: llm.unload_adapter("a"), lambda: llm.adapters):
        with pytest.raises(UnsupportedError, match="closed"):
            call()


@pytest.mark.parametrize(
    "choice, words",
    [
        ("c", "no adapter 'c'"),
        ({"a": "much"}, "scale of the adapter 'a'"),
        ({"a": float("nan")}, "scale"),
        ({"a": 10**400}, "scale"),
        ({"a": True}, "scale"),
        ({"../a": 1.0}, "no adapter"),
        (7, "by its name"),
        (["a", "a"], "1 prompts"),
    ],
)
def test_wrong_choices_are_refused(llm: LLM, choice: Choice, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        llm.complete([PROMPT], adapter=choice, max_tokens=1)


def test_adapters_that_do_not_fit_are_refused(llm: LLM, folders: dict[str, Path], tmp_path: Path) -> None:
    other = replace(TINY, hidden_size=128, intermediate_size=64)
    with pytest.raises(FormatError, match="another model"):
        llm.load_adapter("c", saved(tmp_path / "c", random_adapter(other), other))
    with pytest.raises(ArgumentError, match="loaded already"):
        llm.load_adapter("a", folders["a"])
    with pytest.raises(ArgumentError, match="no adapter"):
        llm.unload_adapter("c")
    assert llm.adapters == ["a", "b"]


def test_large_adapters_are_kept_in_float16(tmp_path: Path) -> None:
    wide = replace(TINY, vocab_size=70000)  # A and B of the head alone take 36 MB in float32
    adapter = random_adapter(wide, targets=["output"], rank=128)
    checkpoint = tiny_checkpoint(wide)
    with LLM(checkpoint, kv="f32", activations="float", adapters={"x": saved(tmp_path / "x", adapter, wide)}) as llm:
        base, got = llm.logits(PROMPT[:3]), llm.logits(PROMPT[:3], adapter="x")
        expected = adapted_oracle(checkpoint, [(adapter, 1.0)], activations="none", kv_dtype=np.float32).logits(
            PROMPT[:3]
        )
        assert 1e-5 < relative_error(expected - base, got - base) < 2e-3


@pytest.mark.parametrize("base", ["base-packed", "base-latent"])
def test_golden_logits_of_peft(base: str) -> None:
    from safetensors.numpy import load_file

    folder = shared("golden-finetune")
    golden = load_file(folder / "logits.safetensors")
    ids = golden["ids"].tolist()
    paths = {"all": folder / "adapter-all-r8", "attn": folder / "adapter-attn-r4"}
    with LLM(folder / base, kv="f32", adapters=paths) as llm:
        plain = llm.logits(ids)
        assert np.abs(plain - golden["base"]).max() < 1e-4
        choices: dict[str, Choice] = {
            "adapter-all-r8": "all",
            "adapter-attn-r4": "attn",
            "both": {"all": 1.0, "attn": 1.0},
            "half-a-plus-b": {"all": 0.5, "attn": 1.0},
        }
        for name, choice in choices.items():
            # A row whose int8 input was rounded the other way, and the rows that see it, differ by about 1e-2.
            rows = np.abs(llm.logits(ids, adapter=choice) - golden[name]).max(axis=1) < 1e-4
            assert rows.all() if name != "adapter-attn-r4" else rows[:5].all()
            effect, expected = llm.logits(ids, adapter=choice) - plain, golden[name] - golden["base"]
            assert np.linalg.norm(effect[rows] - expected[rows]) < 1e-3 * np.linalg.norm(expected[rows])
