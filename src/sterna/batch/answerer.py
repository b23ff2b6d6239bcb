"""Lines through one engine: many at a time, in the order in which they share the most."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import SimpleQueue

from sterna.batch.lines import Entry, seed_of
from sterna.batch.outcome import Outcome, answered, refused
from sterna.batch.window import by_prefix
from sterna.batch.work import Work, work_of
from sterna.engine.llm import LLM
from sterna.engine.loop import CLOSED
from sterna.engine.sampling import SamplingParams
from sterna.server.errors import api_error
from sterna.server.openai.reply import Stamp

IN_FLIGHT = 256
"""Lines that the engine has at a time: twice the tokens of a pass, so that no pass is short of them."""


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

    def outcomes(self, entries: Iterable[Entry]) -> Generator[Outcome, None, None]:
        """What becomes of lines, as they end. Raises `UnsupportedError` where the engine is closed meanwhile."""
        ended: SimpleQueue[str] = SimpleQueue()
        running: dict[str, tuple[Entry, Work]] = {}
        try:
            for entry in by_prefix(entries, _prefix):
                try:
                    work = self._work(entry, ended)
                except Exception as error:
                    yield refused(entry, api_error(error))
                    continue
                running[entry.key] = entry, work
                work.begin()
                while len(running) >= IN_FLIGHT:
                    yield self._outcome(*running.pop(ended.get()))
            while running:
                yield self._outcome(*running.pop(ended.get()))
        finally:
            for _, work in running.values():
                work.cancel()

    def _work(self, entry: Entry, ended: SimpleQueue[str]) -> Work:
        if entry.error is not None:
            raise entry.error
        assert entry.line is not None
        seed = seed_of(self.seed, entry.raw, entry.line)
        # Outputs hold no clock times.
        stamp = Stamp(self.model, entry.key, created=0)
        return work_of(self.llm, entry.line, stamp, seed, self.defaults, lambda: ended.put(entry.key))

    def _outcome(self, entry: Entry, work: Work) -> Outcome:
        assert entry.line is not None
        try:
            return answered(entry.line, entry.key, work.reply())
        except Exception as error:
            if str(error) == CLOSED:
                raise
            return refused(entry, api_error(error))


def _prefix(entry: Entry) -> str:
    return entry.line.prefix if entry.line else ""
