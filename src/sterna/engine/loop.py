"""The engine's loop: one thread runs the passes for callers on any thread. To submit, cancel or read, no caller ever
waits for a pass.

Other threads reach the loop by messages in its inbox: functions that its thread calls between two passes. So no lock is
needed while it runs, and garbage collection may cancel requests on any thread, whatever that thread is doing. What
processes do to threads (exit, fork) is in `processes.py`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from itertools import accumulate, islice
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from sterna.engine import processes
from sterna.engine.backend import Backend, LoadedAdapter, Mix, RowSampling, Span
from sterna.engine.request import Request
from sterna.engine.scheduler import Chunk, Scheduler
from sterna.errors import ArgumentError, FormatError, UnsupportedError

T = TypeVar("T")

CLOSED = "The model was closed."


class Loop:
    """Runs requests to their end, in batches. Its thread starts with the first message."""

    def __init__(self, backend: Backend, scheduler: Scheduler) -> None:
        self.backend = backend
        self.scheduler = scheduler
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: processes.LoopThread | None = None
        self._stopping = self._closed = False
        self._refusing = threading.RLock()
        self._after_turn: dict[Callable[[], None], None] = {}
        self._releases: list[tuple[LoadedAdapter, Future[None]]] = []
        """Callers that wait until an adapter is in no request."""

    def submit(self, requests: Sequence[Request]) -> None:
        """Queues requests; the `done` of each is called when it has ended, unless it is cancelled before.

        Raises `ArgumentError` for what is no request, or was submitted before.
        """
        requests = list(requests)
        for request in requests:
            if not isinstance(request, Request) or request.submitted:
                raise ArgumentError("What is submitted must be requests, each of them once.")
            request.submitted = True
        self._send(partial(self.scheduler.add, requests))

    def cancel(self, requests: Sequence[Request]) -> None:
        """Removes requests, finished or not, before the next pass. Their callbacks are not called any more, but for one
        that is running now."""
        for request in requests:
            request.cancelled = True
            self._inbox.put(partial(self.scheduler.remove, request))

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises on the loop's thread, between two passes."""
        if self.is_own_thread:
            return function()
        result: Future[T] = Future()

        def settle() -> None:
            try:
                if self._closed:
                    raise UnsupportedError(CLOSED)
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        self._send(settle)
        return result.result()

    def wait_for(self, adapter: LoadedAdapter) -> None:
        """Returns when no request runs with an adapter, or waits to. Raises UnsupportedError on the loop's thread, and
        where the loop is closed meanwhile."""
        self.check_thread()
        unused: Future[None] = Future()
        self._send(partial(self._releases.append, (adapter, unused)))
        unused.result()

    def _release(self) -> None:
        """Answers those that wait for an adapter which no request has any more."""
        used = {adapter for request in self.scheduler.requests for adapter, _ in request.mix.parts}
        for adapter, unused in self._releases:
            if self._closed:
                unused.set_exception(UnsupportedError(CLOSED))
            elif adapter not in used:
                unused.set_result(None)
        self._releases = [(adapter, unused) for adapter, unused in self._releases if not unused.done()]

    def after_turn(self, function: Callable[[], None]) -> None:
        """Calls a function when all callbacks of the pass have been called; once, however often a callback asks for it.
        It must not raise an error."""
        self._after_turn[function] = None

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is the loop's thread, in a callback: it must not wait for requests."""
        return threading.current_thread() is self._thread

    def check_thread(self) -> None:
        """Raises UnsupportedError on the loop's thread, for callers that are about to wait for requests."""
        if self.is_own_thread:
            raise UnsupportedError("A callback runs on the engine's thread, and cannot wait for the engine there.")

    def close(self) -> None:
        """Ends the thread after the pass that it is in; requests that have not finished fail, and so do later ones."""

        def close() -> None:
            self._stopping = self._closed = True

        self._inbox.put(close)

    def join(self) -> None:
        """Waits until the thread has ended, after `close`; returns at once on the thread itself."""
        if self._thread is not None and not self.is_own_thread:
            self._thread.join()

    def stop(self) -> None:
        """Ends the thread after the pass that it is in; requests that have not finished wait for ever."""

        def stop() -> None:
            self._stopping = True

        self._inbox.put(stop)

    def pause(self, paused: threading.Event, resume: threading.Event) -> None:
        """Lets the thread wait between two passes; sets `paused` when it does, and waits for `resume`."""

        def pause() -> None:
            paused.set()
            resume.wait()

        self._inbox.put(pause)

    def forked(self) -> None:
        """In the child of a fork: the thread is the parent's, and so are the requests."""
        self._thread, self._inbox, self._refusing = None, SimpleQueue(), threading.RLock()
        self._releases = []
        self.fail(self.scheduler.requests, UnsupportedError("The process forked; what ran before is the parent's."))
        self._end_turn()

    def fail(self, requests: Sequence[Request], error: BaseException) -> None:
        """Ends requests with an error."""
        for request in requests:
            request.error = error
            self._finish(request)

    def _send(self, message: Callable[[], object]) -> None:
        processes.check_alive()
        self._inbox.put(message)
        if self._closed:
            self._refuse()
        elif self._thread is None:
            with processes.starting:
                if self._thread is None:
                    # Known before it runs: a callback may ask whether it is on this thread.
                    self._thread = thread = processes.LoopThread(self, self._run)
                    try:
                        thread.start()
                    except RuntimeError as error:
                        self._thread = None
                        raise UnsupportedError(f"The system refuses the engine's thread ({error}).") from None

    def _run(self) -> None:
        while not self._stopping:
            if self._releases:
                self._release()
            if not (self.scheduler.has_requests and self._inbox.empty()):
                self._inbox.get()()
            else:
                self._step()
                self._end_turn()
        if self._closed:
            self._refuse()

    def _refuse(self) -> None:
        """Lets all messages and requests of a closed loop fail. The loop's thread does this for those that came before
        it ended, a sender's thread for later ones."""
        with self._refusing:
            while not self._inbox.empty():
                self._inbox.get()()
            self.fail(self.scheduler.requests, UnsupportedError(CLOSED))
            self._release()
            self._end_turn()

    def _end_turn(self) -> None:
        asked, self._after_turn = self._after_turn, {}
        for function in asked:
            function()

    def _step(self) -> None:
        """One forward pass over what the scheduler chose."""
        chunks: list[Chunk] = []
        try:
            chunks = self.scheduler.schedule()
            self._forward(chunks)
        except BaseException as error:
            if not chunks:
                self.fail(self.scheduler.requests, error)
            for chunk in chunks:
                chunk.request.error = error
        for chunk in chunks:
            if chunk.request.finished:
                self._finish(chunk.request)

    def _forward(self, chunks: Sequence[Chunk]) -> None:
        for group, source, target in self.scheduler.copies():
            self.backend.copy(group, source, target)
        hidden = self.backend.forward(
            [
                Span(chunk.token_ids, chunk.start, chunk.request.blocks.tables, chunk.outputs, chunk.request.mix)
                for chunk in chunks
            ]
        )
        finite = self.backend.finite(hidden)
        samplings: list[RowSampling] = []
        sampled: list[int] = []
        """The row of each sampling."""
        mixes: list[Mix] = []
        """The adapters of each sampling."""
        counts: list[int] = []
        """Samplings of each chunk."""
        targets: list[np.ndarray] = []
        asked: list[range] = []
        """The rows of each array of targets."""
        asked_mixes: list[Mix] = []
        """The adapters of each row of `asked`."""
        ends = list(accumulate(chunk.outputs for chunk in chunks))
        for chunk, end in zip(chunks, ends, strict=True):
            rows = range(end - chunk.outputs, end)
            wanted: list[RowSampling] = []
            with _blamed(chunk.request):
                if not finite[rows.start : end].all():
                    raise FormatError("The model computed numbers that are not finite.")
                wanted = chunk.request.samplings(chunk.draft) if rows else []
                if rows and (ids := chunk.request.targets(chunk.start, chunk.end)) is not None:
                    targets.append(ids)
                    asked.append(rows)
                    asked_mixes += [chunk.request.mix] * len(rows)
            samplings += wanted
            sampled += rows if wanted else ()
            mixes += [chunk.request.mix] * len(wanted)
            counts.append(len(wanted))
        scores = self._scores(hidden, asked, targets, asked_mixes)
        choices = iter(self.backend.select(hidden, sampled, samplings, mixes) if samplings else ())
        for chunk, end, count in zip(chunks, ends, counts, strict=True):
            request, chosen, accepted = chunk.request, list(islice(choices, count)), 0
            if chunk.outputs and request.error is None and not request.cancelled:
                hidden_rows = partial(self.backend.to_numpy, hidden, end - chunk.outputs, end)
                with _blamed(request):
                    accepted = request.accept(chosen, chunk.draft, scores.get(end, hidden_rows))
            self.scheduler.computed(chunk, accepted)

    def _scores(
        self, hidden: Any, asked: Sequence[range], targets: Sequence[np.ndarray], mixes: Sequence[Mix]
    ) -> dict[int, Callable[[], np.ndarray]]:
        """What gives the scores of targets, by the end of their rows. All are computed together: the head is read once
        for a pass."""
        if not asked:
            return {}
        rows = [row for each in asked for row in each]
        scores = self.backend.score(hidden, rows, np.concatenate(targets), mixes)
        ends = list(accumulate(map(len, asked)))
        return {
            each.stop: partial(scores.__getitem__, slice(end - len(each), end))
            for each, end in zip(asked, ends, strict=True)
        }

    def _finish(self, request: Request) -> None:
        self.scheduler.remove(request)
        if request.cancelled:
            return
        try:
            request.done(request)
        except BaseException:
            logging.getLogger(__name__).exception("The callback for the end of a request raised an error.")


@contextmanager
def _blamed(request: Request) -> Iterator[None]:
    """Records an error as the request's own: the other requests of the pass must not fail with it."""
    try:
        yield
    except BaseException as error:
        request.error = error
