"""The engine's thread: many streams, requests that fail alone, cancelling, forks, garbage collection, exit."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import Checkpoint
from sterna.engine.backend import Span
from sterna.engine.generation import Generation
from sterna.engine.request import Request
from sterna.errors import ArgumentError, FormatError, UnsupportedError

from .helpers import TINY, float_tensor, tiny_checkpoint

LONG: dict[str, Any] = {"max_tokens": 400, "ignore_eos": True}


@pytest.fixture(scope="module")
def llm() -> LLM:
    """The embedded model."""
    return LLM(threads=2)


def available(llm: LLM) -> int:
    """Blocks that could be given, once the engine has handled all earlier messages."""
    return llm._loop.call(lambda: min(group.allocator.available for group in llm._cache.groups))


def run(llm: LLM, generations: list[Generation], finished: SimpleQueue[Request]) -> None:
    """Runs generations whose `done` is `finished.put`."""
    llm.submit(generations)
    for _ in generations:
        finished.get(timeout=60)


def test_an_abandoned_stream_frees_its_blocks(llm: LLM) -> None:
    before = available(llm)
    stream = llm.stream("Once", **LONG)
    next(stream)
    assert available(llm) < before
    stream.close()
    assert available(llm) == before


def test_a_stream_closed_in_the_middle_of_a_pass_leaves_before_the_next(llm: LLM) -> None:
    """Garbage collection can close a forgotten stream on any thread, the engine's own among them."""
    before = available(llm)
    stream = llm.stream("Once", **LONG)
    next(stream)
    llm._loop.call(stream.close)
    assert available(llm) == before


@pytest.mark.parametrize("n", [128, 200])
def test_every_one_of_many_streams_advances(n: int) -> None:
    """As many streams as a pass has tokens, and more; a constraint counts the tokens of each."""
    llm = LLM(tiny_checkpoint(TINY), threads=2)
    counts = [0] * n
    spread: list[int] = []
    finished: SimpleQueue[Request] = SimpleQueue()

    class Counter:
        """Counts the tokens of one stream."""

        def __init__(self, index: int) -> None:
            self.index = index

        def mask(self) -> None:
            return None

        def advance(self, token_id: int) -> None:
            counts[self.index] += 1
            if min(counts) > 0:
                spread.append(max(counts) - min(counts))

        def forced(self) -> tuple[()]:
            return ()

    generations = [
        llm.generation([1 + i % 90, 2, 3], done=finished.put, constraint=Counter(i), max_tokens=40, ignore_eos=True)
        for i in range(n)
    ]
    run(llm, generations, finished)
    assert counts == [40] * n
    assert max(spread) <= spread[0] + 2, "turns go round: a lead grows no more"
    alone = llm.complete([[1 + (n - 1) % 90, 2, 3]], max_tokens=40, ignore_eos=True)
    assert generations[-1].completion_ids == alone[0].token_ids


def test_a_request_that_fails_leaves_the_others_alone(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = llm.generate("Once", max_tokens=12)

    class Grammar:
        """Fails in one of its methods after three tokens."""

        def __init__(self, method: str) -> None:
            self.method, self.tokens = method, 0

        def mask(self) -> None:
            assert self.tokens < 3 or self.method != "mask"

        def advance(self, token_id: int) -> None:
            self.tokens += 1
            assert self.tokens < 3 or self.method != "advance"

        def forced(self) -> tuple[()]:
            return ()

    finished: SimpleQueue[Request] = SimpleQueue()
    options: dict[str, Any] = {"done": finished.put, "max_tokens": 12}

    def refuse(piece: str) -> None:
        raise SystemExit

    broken = [
        llm.generation("Twice", **options),
        llm.generation("Twice", **options, constraint=Grammar("mask")),
        llm.generation("Twice", **options, constraint=Grammar("advance")),
        llm.generation("Twice", **options, deliver=refuse),
    ]
    healthy = llm.generation("Once", **options)
    monkeypatch.setattr(broken[0], "append", lambda choice: 1 / 0)
    run(llm, [*broken, healthy], finished)
    assert [type(request.error) for request in broken] == [
        ZeroDivisionError,
        AssertionError,
        AssertionError,
        SystemExit,
    ]
    assert healthy.completion().text == expected


def test_numbers_that_are_not_finite_fail_their_own_request() -> None:
    checkpoint = tiny_checkpoint(replace(TINY, tied_head=False))
    embedding = np.random.default_rng(0).standard_normal((TINY.vocab_size, TINY.hidden_size))
    embedding[7] = np.nan
    tensors = dict(checkpoint.tensors) | {"token_embd.weight": float_tensor("token_embd.weight", embedding)}
    llm = LLM(Checkpoint(checkpoint.config, tensors, {}, checkpoint.path))
    finished: SimpleQueue[Request] = SimpleQueue()
    options: dict[str, Any] = {"done": finished.put, "max_tokens": 8, "logit_bias": {7: -1e9}}
    healthy, broken = llm.generation([1, 2, 3], **options), llm.generation([4, 7, 5], **options)
    run(llm, [healthy, broken], finished)
    assert healthy.error is None and len(healthy.completion_ids) == 8
    assert isinstance(broken.error, FormatError) and "not finite" in str(broken.error)
    with pytest.raises(FormatError, match="not finite"):
        llm.embed([[7]])


def test_a_request_that_no_token_can_continue_says_so(llm: LLM) -> None:
    with pytest.raises(ArgumentError, match="No token may come next"):
        llm.generate("Once", logit_bias={token: -np.finfo(np.float64).max for token in range(llm.vocab_size)})


def test_what_is_told_of_an_end_may_fail(llm: LLM, caplog: pytest.LogCaptureFixture) -> None:
    def fail(request: Request) -> None:
        raise RuntimeError("Event loop is closed")

    generation = llm.generation("Once", done=fail, max_tokens=1)
    llm.submit([generation])
    assert llm.generate("Once", max_tokens=4) and generation.finished
    assert "Event loop is closed" in caplog.text


def test_a_pass_that_fails_ends_its_requests_once(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[Request] = []

    def refuse(spans: list[Span]) -> np.ndarray:
        raise MemoryError

    broken = [llm.generation(prompt, done=ends.append, max_tokens=4) for prompt in ("Once", "Twice")]
    with monkeypatch.context() as patched:
        patched.setattr(llm._loop.backend, "forward", refuse)
        llm.submit(broken)
        available(llm)
    available(llm)
    assert sorted(map(id, ends)) == sorted(map(id, broken))
    assert all(isinstance(request.error, MemoryError) for request in broken)
    assert llm.generate("Once", max_tokens=2)


def test_what_is_no_request_or_was_one_before_is_refused(llm: LLM) -> None:
    finished: SimpleQueue[Request] = SimpleQueue()
    generation = llm.generation("Once", done=finished.put, max_tokens=2)
    run(llm, [generation], finished)
    for wrong in ([generation], ["Once"]):
        with pytest.raises(ArgumentError, match="each of them once"):
            llm.submit(wrong)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        llm._loop.call(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        llm._loop.call(sys.exit)
    assert llm.generate("Once", max_tokens=2) == generation.text


def test_a_cancelled_request_is_silent(llm: LLM) -> None:
    events: list[object] = []

    def deliver(piece: str) -> None:
        events.append(piece)
        llm.cancel([generation])

    generation = llm.generation("Once", done=events.append, deliver=deliver, **LONG)
    llm.submit([generation])
    assert llm.generate("Twice", max_tokens=8)
    assert len(events) == 1 and isinstance(events[0], str)


def test_a_request_that_was_cancelled_before_it_was_submitted_never_runs(llm: LLM) -> None:
    events: list[object] = []
    generation = llm.generation("Once", done=events.append, deliver=events.append, **LONG)
    llm.cancel([generation])
    llm.submit([generation])
    assert llm._loop.call(lambda: len(llm._loop.scheduler.requests)) == 0
    assert llm.generate("Twice", max_tokens=4) and events == [] and generation.completion_ids == []


def test_the_first_piece_comes_with_the_first_token_even_where_it_has_no_text(llm: LLM) -> None:
    text, pieces = llm.generate("Once", max_tokens=4), []
    finished: SimpleQueue[Request] = SimpleQueue()
    llm.submit([llm.generation("Once", done=finished.put, deliver=pieces.append, max_tokens=4, stop=text)])
    finished.get(timeout=60)
    assert pieces == [""]


def test_a_callback_cannot_wait_for_the_engine_but_can_ask_for_more(llm: LLM) -> None:
    finished: SimpleQueue[Request | Exception] = SimpleQueue()

    def more(request: Request) -> None:
        try:
            llm.generate("Once")
        except UnsupportedError as error:
            finished.put(error)
        llm.submit([llm.generation("Twice", done=finished.put, max_tokens=4)])

    llm.submit([llm.generation("Once", done=more, max_tokens=4)])
    assert isinstance(finished.get(timeout=60), UnsupportedError)
    assert isinstance(finished.get(timeout=60), Generation)


def fork_and_send(llm: LLM) -> str:
    """What a forked child generates."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=lambda: sender.send(llm.generate("Once", max_tokens=8)))
    child.start()
    assert receiver.poll(60), "the child hangs"
    text: str = receiver.recv()
    child.join(10)
    return text


def test_a_forked_child_can_generate(llm: LLM) -> None:
    expected = llm.generate("Once", max_tokens=8)
    assert fork_and_send(llm) == expected


def test_a_fork_while_others_generate(llm: LLM) -> None:
    expected = llm.generate("Once", max_tokens=8)
    texts: SimpleQueue[str] = SimpleQueue()
    threads = [
        threading.Thread(target=lambda: texts.put(llm.generate("The old man", **LONG)), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for _ in range(6):
        assert fork_and_send(llm) == expected
    assert len({texts.get(timeout=60) for _ in threads}) == 1


def test_a_stream_of_before_the_fork_is_the_parents(llm: LLM) -> None:
    stream = llm.stream("Once", **LONG)
    text = next(stream)
    receiver, sender = os.pipe()
    if not (child := os.fork()):
        try:
            list(stream)
        except UnsupportedError as error:
            os.write(sender, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        assert "forked" in pipe.read()
    assert text + "".join(stream) == llm.generate("Once", **LONG)


def test_forks_while_callbacks_start_threads() -> None:
    """Each model's first request comes from a callback of the one before."""
    models = [LLM(tiny_checkpoint(TINY), threads=1) for _ in range(40)]
    finished: SimpleQueue[Request] = SimpleQueue()

    def begin(index: int) -> None:
        def then(request: Request) -> None:
            if index + 1 < len(models):
                begin(index + 1)
            finished.put(request)

        models[index].submit([models[index].generation([1, 2], done=then, max_tokens=3, ignore_eos=True)])

    begin(0)
    for _ in range(20):
        child = os.fork()
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    for _ in models:
        assert finished.get(timeout=60).error is None


def test_a_model_is_collected_while_it_generates() -> None:
    llm: LLM | None = LLM(threads=2)
    stream = llm.stream("Once", **LONG)
    next(stream)
    loop, thread, gone = llm._loop, llm._loop._thread, weakref.ref(llm)
    llm = None
    assert gone() is not None, "the stream needs it"
    del stream
    gc.collect()
    assert gone() is None
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive() and not loop.scheduler.has_requests


EXIT = """
import os, threading
from sterna import LLM

llm = LLM(threads=2)
begun = threading.Event()

def generate():
    while True:
        for piece in llm.stream("Once", max_tokens=400, ignore_eos=True):
            begun.set()

for _ in range(4):
    threading.Thread(target=generate, daemon=True).start()
begun.wait()
print("done")
"""


LATE = """
import atexit
from sterna.errors import SternaError

def late():
    try:
        llm.generate("Once", max_tokens=4)
    except SternaError as error:
        print(error)

atexit.register(late)
from sterna import LLM
llm = LLM()
llm.generate("Once", max_tokens=4)
"""


def test_a_text_that_is_asked_for_at_exit_is_refused() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "The process is ending.\n", "")


def test_the_process_ends_cleanly_while_daemon_threads_generate() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
