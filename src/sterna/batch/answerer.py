"""Lines through one engine: many at a time, in the order in which they share the most."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from threading import Event

from sterna.batch.lines import Entry, seed_of
from sterna.batch.outcome import Outcome, answered, refused, unasked
from sterna.batch.window import by_prefix
from sterna.batch.work import Work, work_of
from sterna.engine.llm import LLM
from sterna.engine.loop import CLOSED
from sterna.engine.sampling import SamplingParams
from sterna.server.errors import ApiError, api_error
from sterna.server.openai.stamp import Stamp

IN_FLIGHT = 1024
"""Lines that the engine has at a time, so that every pass is full."""
BURST = 512
"""Lines that are taken from the engine, and given to it, at a time..."""
SECONDS = 1.0
"""...or as many as ended in this time."""


Stop = Callable[[], ApiError | None]
"""Is asked about once a second whether lines should run on. What it returns is said of all lines that have no outcome
by then; what it raises ends the iteration."""


def never() -> None:
    """Lets all lines run."""


@dataclass(frozen=True)
class Answerer:
    """An engine, and what lines do not say themselves."""

    llm: LLM
    model: str
    """The name of the model in replies."""
    seed: int
    """The seed of the run."""
    defaults: SamplingParams
    """For plain rows."""
    stop: Stop = never
    lora: Mapping[str, float] = field(default_factory=dict)
    """Scales of adapters by name, of which lines may give others."""

    def outcomes(self, entries: Iterable[Entry]) -> Generator[Outcome, None, None]:
        """What becomes of lines, as they end. Raises `UnsupportedError` where the engine is closed meanwhile."""
        with _beside_an_engine():
            yield from self._outcomes(entries)

    def _outcomes(self, entries: Iterable[Entry]) -> Iterator[Outcome]:
        ended = _Ended(self.stop)
        running: dict[str, tuple[Entry, Work]] = {}
        rest = by_prefix(entries, attrgetter("prefix"))
        try:
            for entry in rest:
                try:
                    work = self._work(entry, ended)
                except Exception as error:
                    yield _failed(entry, error)
                    continue
                running[entry.key] = entry, work
                work.begin()
                if len(running) >= IN_FLIGHT:
                    for key in ended.take(BURST):
                        yield self._outcome(*running.pop(key))
            while running:
                for key in ended.take(min(BURST, len(running))):
                    yield self._outcome(*running.pop(key))
        except _Stopped as stopped:
            for entry, _ in running.values():
                yield unasked(entry, stopped.error)
            yield from unanswered(rest, stopped.error)
        finally:
            for _, work in running.values():
                work.cancel()

    def _work(self, entry: Entry, ended: _Ended) -> Work:
        if entry.error is not None:
            raise entry.error
        assert entry.line is not None
        seed = seed_of(self.seed, entry.raw, entry.line)
        # Outputs hold no clock times.
        stamp = Stamp(self.model, entry.key, created=0)
        return work_of(self.llm, entry.line, stamp, seed, self.defaults, self.lora, lambda: ended.put(entry.key))

    def _outcome(self, entry: Entry, work: Work) -> Outcome:
        assert entry.line is not None
        try:
            return answered(entry.line, entry.key, work.reply())
        except Exception as error:
            return _failed(entry, error)


def _failed(entry: Entry, error: Exception) -> Outcome:
    """The outcome of a line with an error. Raises the one of an engine that was closed: it is no line's."""
    if str(error) == CLOSED:
        raise error
    return refused(entry, api_error(error))


def unanswered(entries: Iterable[Entry], error: ApiError) -> Iterator[Outcome]:
    """Outcomes of lines that do not run."""
    for entry in entries:
        yield refused(entry, entry.error) if entry.error else unasked(entry, error)


SWITCH_SECONDS = 0.0005
"""How long a thread holds Python's lock while another one wants it. A burst takes many times that, and meanwhile the
engine's thread and those of a server would wait for each turn of theirs: by default for 5 milliseconds."""


@contextmanager
def _beside_an_engine() -> Iterator[None]:
    """Lets other threads have their turns, and lets Python look for garbage less often. Thousands of objects a second
    come and go, and looking through those of all lines that run takes a tenth of a job with a small model."""
    collected, switched = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(max(50_000, collected[0]), *collected[1:])
    sys.setswitchinterval(min(SWITCH_SECONDS, switched))
    try:
        yield
    finally:
        gc.set_threshold(*collected)
        sys.setswitchinterval(switched)


class _Ended:
    """Keys of the lines that have ended. They are handed over in bursts: a thread that woke for each of them would take
    a processor from the engine's threads each time, and one of those makes the others wait."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._keys: list[str] = []
        self._wanted = 1
        self._woken = Event()

    def put(self, key: str) -> None:
        """Adds a key, on the engine's thread."""
        self._keys.append(key)
        if len(self._keys) >= self._wanted:
            self._woken.set()

    def take(self, wanted: int) -> list[str]:
        """The keys so far, at least one: when so many have come, or after `SECONDS`. Raises _Stopped."""
        self._wanted = wanted
        self._woken.clear()
        while True:
            if (error := self._stop()) is not None:
                raise _Stopped(error)
            if len(self._keys) >= wanted:
                break
            if not self._woken.wait(SECONDS) and self._keys:
                break
        count = len(self._keys)
        taken, self._keys[:count] = self._keys[:count], []
        return taken


class _Stopped(Exception):
    """Lines are not to run on."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error
