"""The engine's loop: one thread runs the passes for callers on any thread. To submit, cancel or read, no caller ever
waits for a pass.

Other threads reach the loop by messages in its inbox: functions that its thread calls between two passes. So no lock is
needed, and garbage collection may cancel requests on any thread, whatever that thread is doing.
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
    """A loop's thread; its class lets `_exit_all` find it."""


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
        """Queues requests; the `done` of each is called when it has ended, unless it is cancelled before."""
        self._send(partial(self.scheduler.add, requests))

    def cancel(self, requests: Sequence[Request]) -> None:
        """Removes requests, finished or not, before the next pass."""
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
        """Ends the thread after its current pass; requests that have not finished fail."""

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
        """Makes the thread wait between two passes until `_resume` is set; returns when it waits."""
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
        """Called in the child of a fork, where the thread does not exist and all requests are the parent's."""
        self._thread, self._inbox, self._resume = None, SimpleQueue(), threading.Event()
        _loops.discard(self)
        self._fail(self.scheduler.requests, UnsupportedError("The process forked; what ran before is the parent's."))


@contextmanager
def _blamed(request: Request) -> Iterator[None]:
    """Stores an error in the request that caused it, so that the others in the batch go on."""
    try:
        yield
    except BaseException as error:
        request.error = error


def _exit_all() -> None:
    """Ends the threads of all loops and joins them, also where the loop no longer exists. Daemon threads that wait for
    a text keep waiting while the process ends."""
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
