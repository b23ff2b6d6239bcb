"""The engine's loop: one thread steps, for callers on any thread. None of them ever waits for a pass to submit, to
cancel or to read.

Everything that others want of the loop is a message in its inbox, a function that the thread calls between two passes.
So nothing here is locked, and garbage collection may cancel on any thread, whatever that one is doing.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, islice
from queue import SimpleQueue
from typing import TypeVar

from sterna.engine.backend import Backend, RowSampling, Span
from sterna.engine.request import Request
from sterna.engine.scheduler import Chunk, Scheduler
from sterna.errors import FormatError, UnsupportedError

T = TypeVar("T")

_loops: weakref.WeakSet[Loop] = weakref.WeakSet()
_starting = threading.RLock()
"""Held while a loop's thread is started, and while the process forks."""


class LoopThread(threading.Thread):
    """A loop's thread, as exit finds it."""


class Loop:
    """Runs requests to their end, in batches. Its thread starts with the first message."""

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self.backend = backend
        self.scheduler = scheduler
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._resume = threading.Event()

    def submit(self, requests: Sequence[Request]) -> None:
        """Lets requests wait for their turn; each one's `done` is called in the end, unless it is cancelled before."""
        self._send(partial(self.scheduler.add, requests))

    def cancel(self, requests: Sequence[Request]) -> None:
        """Takes requests out, finished or not, before the next pass."""
        self._inbox.put(partial(self.scheduler.remove, requests))

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises on the loop's thread, between two passes."""
        if threading.current_thread() is self._thread:
            return function()
        result: Future[T] = Future()

        def settle() -> None:
            try:
                result.set_result(function())
            except Exception as error:
                result.set_exception(error)

        self._send(settle)
        return result.result()

    def close(self) -> None:
        """Ends the thread after the pass that it is in; requests that have not finished fail."""

        def close() -> None:
            self._stop()
            self._fail(self.scheduler.requests, UnsupportedError("The model was closed."))

        self._inbox.put(close)

    def _send(self, message: Callable[[], object]) -> None:
        self._inbox.put(message)
        if self._thread is None:
            with _starting:
                if self._thread is None:
                    thread = LoopThread(target=self._run, name="sterna-loop", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError as error:
                        raise UnsupportedError(f"The system refuses the engine's thread ({error}).") from None
                    self._thread = thread
                    _loops.add(self)

    def _run(self) -> None:
        while not self._stopping:
            if not (self.scheduler.has_requests and self._inbox.empty()):
                self._inbox.get()()
            else:
                self._step()

    def _step(self) -> None:
        """One forward pass over what the scheduler chose."""
        chunks: list[Chunk] = []
        try:
            chunks = self.scheduler.schedule()
            self._forward(chunks)
        except Exception as error:
            self._fail([chunk.request for chunk in chunks] or self.scheduler.requests, error)
        for chunk in chunks:
            if chunk.request.finished:
                self._finish(chunk.request)

    def _forward(self, chunks: Sequence[Chunk]) -> None:
        hidden = self.backend.forward(
            [
                Span(chunk.token_ids, chunk.start, chunk.request.blocks.tables, chunk.outputs, chunk.request.adapter_id)
                for chunk in chunks
            ]
        )
        finite = self.backend.finite(hidden)
        samplings: list[RowSampling] = []
        sampled: list[int] = []
        """The row of each sampling."""
        counts: list[int] = []
        """Samplings of each chunk."""
        ends = list(accumulate(chunk.outputs for chunk in chunks))
        for chunk, end in zip(chunks, ends, strict=True):
            wanted: list[RowSampling] = []
            with _blamed(chunk.request):
                if not finite[end - chunk.outputs : end].all():
                    raise FormatError("The model computed numbers that are not finite.")
                wanted = chunk.request.samplings(chunk.draft) if chunk.outputs else []
            samplings += wanted
            sampled += range(end - chunk.outputs, end)[: len(wanted)]
            counts.append(len(wanted))
        choices = iter(self.backend.select(hidden, sampled, samplings) if samplings else ())
        for chunk, end, count in zip(chunks, ends, counts, strict=True):
            chosen, accepted = list(islice(choices, count)), 0
            if chunk.outputs and chunk.request.error is None:
                rows = partial(self.backend.to_numpy, hidden, end - chunk.outputs, end)
                with _blamed(chunk.request):
                    accepted = chunk.request.accept(chosen, chunk.draft, rows)
            self.scheduler.computed(chunk, accepted)

    def _fail(self, requests: Sequence[Request], error: BaseException) -> None:
        for request in requests:
            request.error = error
            self._finish(request)

    def _finish(self, request: Request) -> None:
        self.scheduler.remove([request])
        try:
            request.done(request)
        except BaseException:
            logging.getLogger(__name__).exception("What was to be told of the end of a request raised an error.")

    def _stop(self) -> None:
        self._stopping = True

    def _pause(self) -> None:
        """Lets the thread wait between two passes, until `_resume` is set."""
        thread, paused = self._thread, threading.Event()
        if thread is None or thread is threading.current_thread():
            return
        self._resume.clear()

        def pause() -> None:
            paused.set()
            self._resume.wait()

        self._inbox.put(pause)
        while not paused.wait(0.1) and thread.is_alive():
            pass

    def _forked(self) -> None:
        """In the child of a fork: the thread is the parent's, and so are the requests."""
        self._thread, self._inbox, self._resume = None, SimpleQueue(), threading.Event()
        _loops.discard(self)
        self._fail(self.scheduler.requests, UnsupportedError("The process forked; what ran before is the parent's."))


@contextmanager
def _blamed(request: Request) -> Iterator[None]:
    """Keeps an error for the request that it is of: the others in the batch must not suffer."""
    try:
        yield
    except BaseException as error:
        request.error = error


def _exit_all() -> None:
    """Ends the threads and waits for that, also for those of loops that are gone already. Daemon threads that wait for
    their texts go on waiting while the process ends."""
    for loop in list(_loops):
        loop._inbox.put(loop._stop)
    for thread in threading.enumerate():
        if isinstance(thread, LoopThread):
            thread.join()


def _before_fork() -> None:
    _starting.acquire()
    for loop in list(_loops):
        loop._pause()


def _after_fork_in_parent() -> None:
    for loop in list(_loops):
        loop._resume.set()
    _starting.release()


def _after_fork_in_child() -> None:
    for loop in list(_loops):
        loop._forked()
    _starting.release()


atexit.register(_exit_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
