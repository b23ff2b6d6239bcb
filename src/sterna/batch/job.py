"""A job: every line of an input through an engine, and what becomes of it into files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

from sterna.batch.lines import Entry, entries
from sterna.batch.outcome import Outcome
from sterna.batch.outputs import Outputs, other_job
from sterna.batch.parquet import is_parquet, parquet_metadata
from sterna.batch.report import BatchReport, Progress
from sterna.batch.source import Source
from sterna.batch.table import FAILED, JOB, lines_of, publish_table
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams

REPORT_SECONDS = 0.2
"""Time between two calls of `progress`."""

Computes = Callable[[Iterable[Entry]], Iterator[Outcome]]
"""Gives what becomes of lines, in any order."""


class Job:
    """An input and the files of its outcomes."""

    def __init__(self, source: Source, output: Path, errors: Path, job: str) -> None:
        """`job`: a text of everything besides the lines that answers depend on (`job_text`)."""
        self._source, self._output, self._errors, self._job = source, output, errors, job
        self._seen_lines = self._seen_weight = 0
        """Of the input, as far as it was read."""
        self._unfinished: dict[str, int] = {}
        """By key, the weights of lines that were read and have no outcome."""
        self._computed = 0
        """The weight of the lines that this run computed."""
        self._digest = blake2b(digest_size=16)
        """Of the keys of all lines."""
        self._report, self._began = BatchReport(), 0.0
        self._outputs: Outputs | None = None

    def run(self, compute: Computes, progress: Progress | None) -> BatchReport:
        """Gets and writes the outcomes that the files lack. Raises as `run` of the package."""
        if is_parquet(self._output):
            if self._output.exists() and not lines_of(self._output).exists():
                return self._verified()
            report = self._run(lines_of(self._output), compute, progress)
            publish_table(self._output, self._digest.hexdigest(), report.failed)
            return report
        return self._run(self._output, compute, progress)

    def report(self) -> BatchReport:
        """What has been done so far. Only the thread on which the job runs may ask."""
        report, outputs = self._report, self._outputs
        if outputs is not None:
            report.seconds, report.failed = time.monotonic() - self._began, outputs.failed
        report.done = self._seen_lines - len(self._unfinished)
        if self._source.size is not None:
            finished = self._seen_weight - sum(self._unfinished.values())
            report.share = min(1.0, finished / self._source.size)
            left = max(0, self._source.size - finished)
            report.seconds_left = left * report.seconds / self._computed if self._computed else None
        return report

    def _run(self, output: Path, compute: Computes, progress: Progress | None) -> BatchReport:
        self._outputs = outputs = Outputs(output, self._errors)
        self._began = time.monotonic()
        try:
            pending = self._watched(outputs.pending(self._read()))
            due = 0.0
            for outcome in compute(pending):
                outputs.add(outcome)
                self._report.take(outcome)
                self._computed += self._unfinished.pop(outcome.key)
                now = time.monotonic()
                if progress is not None and now >= due:
                    due = now + REPORT_SECONDS
                    progress(self.report())
            outputs.finish()
            return self.report()
        finally:
            outputs.save()
            outputs.close()

    def _read(self) -> Iterator[Entry]:
        """The lines of the input."""
        for entry in entries(self._source.lines, self._job):
            weight = self._source.weight(entry.raw)
            self._digest.update(entry.key.encode())
            self._seen_lines, self._seen_weight = self._seen_lines + 1, self._seen_weight + weight
            yield entry

    def _watched(self, pending: Iterator[Entry]) -> Iterator[Entry]:
        for entry in pending:
            self._unfinished[entry.key] = self._source.weight(entry.raw)
            yield entry

    def _verified(self) -> BatchReport:
        """The report of a job whose table is there already. Raises ArgumentError where it is that of another job."""
        metadata = parquet_metadata(self._output)
        for _ in self._read():
            pass
        if metadata.get(JOB) != self._digest.hexdigest():
            raise other_job(self._output)
        return BatchReport(done=self._seen_lines, failed=int(metadata[FAILED]), share=1.0)


def job_text(model: str, seed: int, params: SamplingParams, options: EngineOptions) -> str:
    """A text of everything besides the lines that answers depend on. `model`: the fingerprint of the model."""
    numbers = (options.ctx, options.kv, options.head, options.activations, options.i2s_layout)
    return f"{model} {seed} {asdict(params)} {numbers}"
