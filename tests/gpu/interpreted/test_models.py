"""Models by `LLM(device="cuda")` in the interpreter: beside bitnet.cpp, and beside the CPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sterna import LLM
from sterna.engine.known_answer import check_answers
from sterna.errors import UnsupportedError
from sterna.gpu import backend as backend_module
from sterna.gpu.backend import GpuBackend
from tests.adapters.random_adapters import random_adapter, saved
from tests.helpers import DATA, GOLDEN, TINY, TOKENS, golden_logits, mean_kl, tiny_checkpoint, top1_margin, top1_matches


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("bitnet-b1.58", 4), *(pytest.param(name, 48, marks=pytest.mark.slow) for name in GOLDEN)],
)
def test_golden_models_agree_with_bitnet_cpp(name: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_module, "ROWS", 3 * tokens // 4)  # which leaves fewer for the last time
    model, reference = GOLDEN[name]
    expected = golden_logits(DATA / reference)[:tokens]
    logits = LLM(DATA / model, device="cuda", ctx=64).logits(TOKENS[:tokens])
    assert np.abs(logits[0] - expected[0]).max() < 2e-4
    matches = top1_matches(expected, logits)
    assert matches.sum() >= tokens * 45 // 48
    assert (top1_margin(expected)[~matches] < 1).all()
    assert mean_kl(expected, logits) < 2e-2


@pytest.mark.slow
def test_the_embedded_model_writes_what_it_writes_on_the_cpu() -> None:
    prompt = "It was a dark and stormy night"
    texts = [LLM(device=device, ctx=64).generate(prompt, max_tokens=16, ignore_eos=True) for device in ("cuda", "cpu")]
    assert texts[0] == texts[1]


def test_the_scheduler_samples_and_scores_as_on_the_cpu() -> None:
    model = tiny_checkpoint(TINY)
    own, cpu = LLM(model, device="cuda"), LLM(model)
    assert repr(own).endswith("cuda:0>")
    # Chosen on the device, and from copied logits.
    for params in ({"max_tokens": 2, "ignore_eos": True}, {"max_tokens": 1, "temperature": 1.0, "seed": 3}):
        both = [llm.complete([[1, 2], [1, 9]], **params) for llm in (own, cpu)]
        assert [each.token_ids for each in both[0]] == [each.token_ids for each in both[1]]
    np.testing.assert_allclose(own.scores([5, 6, 7]), cpu.scores([5, 6, 7]), atol=1e-3)
    assert own.statistics.least_cache_bytes > 0


def test_memory_is_free_at_once_after_close() -> None:
    llm = LLM(tiny_checkpoint(TINY), device="cuda")
    llm.hidden([4, 5])
    backend = llm._loop.backend
    assert isinstance(backend, GpuBackend)
    kept = [weakref.ref(each) for each in (backend, backend._runner.parameters, backend._pools["full"])]
    gc.disable()
    try:
        del backend
        llm.close()
        assert [each() for each in kept] == [None] * 3
    finally:
        gc.enable()


def test_a_gpu_without_memory_for_logits_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(logits: torch.Tensor) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError

    llm = LLM(tiny_checkpoint(TINY), device="cuda")
    monkeypatch.setattr(backend_module, "_lowest_best", refuse)
    for ask in (lambda: llm.scores([5, 6]), lambda: llm.complete([[5]], max_tokens=1)):
        with pytest.raises(UnsupportedError, match="is too small for this model"):
            ask()


@pytest.mark.slow
def test_known_answers_are_those_of_the_cpu() -> None:
    check_answers(LLM(tiny_checkpoint(TINY), device="cuda"))


class Filled:
    """In place of `Graphs`, which needs a GPU: passes are filled up, and not recorded."""

    def __init__(self, run: Callable[[int], None]) -> None:
        self._run, self.tokens = run, [0]

    def run(self, tokens: int, serial: int) -> None:
        self.tokens.append(tokens)
        self._run(tokens)


def test_tokens_that_fill_up_a_recorded_pass_change_nothing() -> None:
    model = tiny_checkpoint(TINY)
    own, filled = LLM(model, device="cuda").hidden([4, 5, 6]), LLM(model, device="cuda")
    backend = filled._loop.backend
    assert isinstance(backend, GpuBackend)
    backend._graphs = graphs = Filled(backend._run)  # type: ignore[assignment]
    assert np.array_equal(filled.hidden([4, 5, 6]), own)
    assert graphs.tokens[-1] == 4
    keys = backend._pools["full"].keys
    assert keys[:, :, 3:].count_nonzero() == 0 and keys[:, 1:].count_nonzero() == 0
    backend.copy(0, 0, 1)  # as for a prompt that begins like this one
    assert keys[:, 0].count_nonzero() > 0 and keys[:, 1].equal(keys[:, 0])


@pytest.mark.slow
def test_adapters_change_the_rows_of_their_own_sequences(tmp_path: Path) -> None:
    model = tiny_checkpoint(TINY)
    adapters = {"a": saved(tmp_path / "a", random_adapter(TINY), TINY)}
    own, cpu = (LLM(model, device=device, adapters=adapters) for device in ("cuda", "cpu"))
    ids = [5, 6, 7]
    plain, changed = own.logits(ids), own.logits(ids, adapter="a")
    assert mean_kl(cpu.logits(ids, adapter="a"), changed) < 1e-3 < mean_kl(plain, changed)
    mixed = own.embed([ids, ids], adapter=[None, "a"])
    assert np.abs(mixed - cpu.embed([ids, ids], adapter=[None, "a"])).max() < 1e-2
