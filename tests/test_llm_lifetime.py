"""`LLM` as an object: `repr`, closing, copying; tokens and log-probabilities of a prompt; progress."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.engine.request import Request
from sterna.errors import UnsupportedError

from .helpers import TINY, log_softmax, tiny_checkpoint


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def test_a_model_says_what_it_is(llm: LLM) -> None:
    assert repr(llm) == (
        f"<LLM 'sterna-tern': bitnet-b1.58, 11,759,232 parameters, context {llm.context_length}, 2 threads, {llm.isa}>"
    )


def test_the_embedded_model_has_a_name(llm: LLM) -> None:
    named = LLM("sterna-tern", threads=2)
    assert repr(named) == repr(llm) and named.generate("Once", max_tokens=5) == llm.generate("Once", max_tokens=5)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_model_does_not_copy_and_says_why(llm: LLM, copied: Callable[[LLM], object]) -> None:
    with pytest.raises(TypeError, match="^An LLM cannot be pickled or copied, .* path"):
        copied(llm)


USES: dict[str, Callable[[LLM], object]] = {
    "generate": lambda llm: llm.generate("Once"),
    "complete": lambda llm: llm.complete([[1]]),
    "stream": lambda llm: list(llm.stream("Once")),
    "chat": lambda llm: llm.chat([{"role": "user", "content": "Hi"}]),
    "embed": lambda llm: llm.embed(["a"]),
    "logits": lambda llm: llm.logits([1]),
    "head": lambda llm: llm.head(np.zeros((1, llm.hidden_size), np.float32)),
    "checkpoint": lambda llm: llm.checkpoint,
}


@pytest.mark.parametrize("began", [False, True])
def test_a_closed_model_refuses_every_use(began: bool) -> None:
    with LLM(threads=1) as llm:
        if began:
            llm.generate("Once", max_tokens=2)
    assert repr(llm).endswith(", closed>")
    for use in USES.values():
        with pytest.raises(UnsupportedError, match="^The model was closed.$"):
            use(llm)
    llm.close()
    assert not hasattr(llm, "no_such_thing")
    with pytest.raises(TypeError):
        pickle.dumps(llm)


def test_closing_ends_what_runs_and_gives_the_memory_back() -> None:
    llm = LLM(threads=1)
    backend, thread = weakref.ref(llm._loop.backend), llm._loop
    stream = llm.stream("Once", ignore_eos=True)
    next(stream)
    running = thread._thread
    del thread
    assert running is not None and running.is_alive()
    llm.close()
    assert not running.is_alive()
    with pytest.raises(UnsupportedError, match="closed"):
        list(stream)
    gc.collect()
    assert backend() is None


def test_a_stream_outlives_its_model_quietly() -> None:
    llm = LLM(threads=1)
    stream = llm.stream("Once", ignore_eos=True)
    next(stream)
    llm.close()
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(stream)


def test_what_others_send_while_a_model_closes_ends() -> None:
    for _ in range(20):
        llm = LLM(tiny_checkpoint(TINY), threads=1)
        finished: SimpleQueue[object] = SimpleQueue()
        begin = threading.Barrier(4)

        def use(llm: LLM = llm, finished: SimpleQueue[object] = finished, begin: threading.Barrier = begin) -> None:
            begin.wait()
            try:
                while True:
                    llm.complete([[1, 2, 3]], max_tokens=2)
            except UnsupportedError as error:
                finished.put(str(error))

        for _ in range(3):
            threading.Thread(target=use, daemon=True).start()
        begin.wait()
        llm.close()
        assert [finished.get(timeout=30) for _ in range(3)] == ["The model was closed."] * 3


def test_a_callback_can_close_its_model() -> None:
    llm = LLM(tiny_checkpoint(TINY), threads=1)
    finished: SimpleQueue[Request] = SimpleQueue()
    llm.submit([llm.generation([1, 2], done=lambda request: (llm.close(), finished.put(request)), max_tokens=2)])  # type: ignore[func-returns-value, arg-type]
    assert finished.get(timeout=30).error is None
    with pytest.raises(UnsupportedError, match="closed"):
        llm.complete([[1]])


def test_tokens_of_a_text(llm: LLM) -> None:
    ids = llm.tokenize("The old sailor")
    assert ids == llm.tokenizer.encode("The old sailor") and all(type(token) is int for token in ids)
    assert llm.generate(ids, max_tokens=6) == llm.generate("The old sailor", max_tokens=6)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 3, "lookup": 6}], ids=str)
def test_an_echoed_prompt_is_scored_like_the_text(llm: LLM, options: dict[str, Any]) -> None:
    texts = ["The captain went on deck, and looked at the sea. " * 6, "It was", llm.tokenize("She said nothing.")]
    plain = llm.complete(texts, max_tokens=9, logprobs=3, ignore_eos=True, **options)
    echoed = llm.complete(texts, max_tokens=9, logprobs=3, ignore_eos=True, echo=True, **options)
    for text, own, whole in zip(texts, plain, echoed, strict=True):
        prompt = text if isinstance(text, list) else llm.tokenize(text)
        assert own.logprobs is not None and whole.logprobs is not None
        assert whole.token_ids == [*prompt, *own.token_ids] == [entry.token_id for entry in whole.logprobs]
        assert whole.completion_tokens == own.completion_tokens == 9 and whole.prompt_tokens == len(prompt)
        assert whole.text == ("She said nothing." if isinstance(text, list) else text) + own.text
        assert whole.logprobs[len(prompt) :] == own.logprobs
        assert whole.logprobs[0].logprob is None and whole.logprobs[0].top == []
        expected = log_softmax(llm.logits(whole.token_ids))
        for entry, row in zip(whole.logprobs[1:], expected, strict=False):
            assert entry.logprob == pytest.approx(row[entry.token_id], abs=1e-5)
            assert [token for token, _ in entry.top] == np.argsort(-row, kind="stable")[:3].tolist()


def test_an_echo_needs_no_scores_and_comes_first_in_a_stream(llm: LLM) -> None:
    (completion,) = llm.complete(["It was a dark"], max_tokens=5, echo=True)
    pieces = list(llm.stream("It was a dark", max_tokens=5, echo=True))
    assert completion.logprobs is None and completion.text == "".join(pieces) and len(pieces) > 1
    assert pieces[0].startswith("It was a dark")
    assert completion.text == "It was a dark" + llm.generate("It was a dark", max_tokens=5)


def test_a_preempted_prompt_is_scored_once() -> None:
    """Two contexts' room for four texts: some are computed again."""
    config = replace(TINY, context_length=256)
    options: dict[str, Any] = {"max_tokens": 100, "logprobs": 1, "echo": True, "ignore_eos": True}
    prompts = [[1 + i, *range(2, 40)] for i in range(4)]
    llm = LLM(tiny_checkpoint(config), threads=1, pool_tokens=256)
    together = llm.complete(prompts, **options)
    assert llm._loop.scheduler.preemptions > 0
    assert together == [
        replace(other, prefill_tps=own.prefill_tps, decode_tps=own.decode_tps, seed=own.seed)
        for own, other in zip(together, (llm.complete([p], **options)[0] for p in prompts), strict=True)
    ]


def test_the_seed_of_a_text_makes_it_again(llm: LLM) -> None:
    (completion,) = llm.complete(["Once"], max_tokens=12, temperature=1.0)
    assert 0 <= completion.seed < 2**53
    assert llm.generate("Once", max_tokens=12, temperature=1.0, seed=completion.seed) == completion.text


def test_progress_is_told_on_the_callers_thread(llm: LLM) -> None:
    shares: list[float] = []
    threads: set[threading.Thread] = set()

    def tell(share: float) -> None:
        shares.append(share)
        threads.add(threading.current_thread())

    text = llm.generate(["Once"] * 3, max_tokens=4, progress=tell)
    assert text == llm.generate(["Once"] * 3, max_tokens=4)
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert threads == {threading.current_thread()}
    shares.clear()
    assert "".join(llm.stream("Once", max_tokens=4, progress=tell)) == text[0] and shares[-1] == 1


def test_progress_shows_how_far_a_long_prompt_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterna.engine.progress.SECONDS", 1e-4)
    llm = LLM(tiny_checkpoint(replace(TINY, context_length=8192)), threads=1)
    shares: list[float] = []
    llm.complete([np.resize(np.arange(1, 90), 8000)], max_tokens=1, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(set(shares)) > 3
