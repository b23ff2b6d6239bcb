"""One batch on a thread: the job of `sterna batch` with a model of the server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sterna.batch import PLAIN, BatchReport
from sterna.batch.answerer import Answerer, unanswered
from sterna.batch.job import Computes, Job, job_text
from sterna.batch.lines import Entry
from sterna.batch.outcome import Outcome
from sterna.batch.source import open_source
from sterna.files.fingerprint import fingerprint
from sterna.jobs.batch import Batch
from sterna.jobs.files import Files
from sterna.server.errors import ApiError
from sterna.server.metrics import Metrics
from sterna.server.served import Served

CANCELLED = ApiError(400, "The batch was cancelled before this line was answered.", code="batch_cancelled")
EXPIRED = ApiError(400, "The completion window of the batch ended before this line was answered.", code="batch_expired")


class Closing(Exception):
    """The server stops; a later one goes on with the batch."""


class Run:
    """A batch that runs, until it has ended, is stopped, or its model is closed. What it has done is kept."""

    def __init__(self, batch: Batch, files: Files, metrics: Metrics) -> None:
        self._batch, self._files, self._metrics = batch, files, metrics
        self.closing = False
        """Whether it is to break off."""
        self.stopped: ApiError | None = None
        """Why lines were not answered."""
        self._counted = BatchReport()

    def prepare(self, served: Served) -> str:
        """The text of what answers depend on besides the lines. Raises `ApiError` where that has changed since the
        batch began, OSError."""
        # Lines may name any adapter of the model.
        adapters = [f"{name}={fingerprint(path)}" for name, path in sorted(served.known.adapters)]
        model = " ".join([fingerprint(served.known.path), *adapters, *served.adapters({})])
        job = job_text(model, self._batch.seed, PLAIN, served.llm.options)
        if self._batch.job not in (None, job):
            sentence = f"The model {served.name}, an adapter or an option is not that with which the batch began."
            raise ApiError(400, sentence, code="model_changed")
        return job

    def answer(self, served: Served) -> None:
        """Answers the lines that have no outcome. Raises `Closing`, `UnsupportedError` where the model is closed,
        OSError."""
        lora = served.adapters({})
        self._run(Answerer(served.llm, served.name, self._batch.seed, PLAIN, self._stop, lora).outcomes)

    def refuse(self) -> None:
        """Gives an error to the lines of a cancelled batch that have no outcome. Raises OSError."""
        self.stopped = CANCELLED

        def refused(entries: Iterable[Entry]) -> Iterator[Outcome]:
            return unanswered(entries, CANCELLED)

        self._run(refused)

    def _run(self, compute: Computes) -> None:
        batch, files = self._batch, self._files
        source = open_source(files.path(batch.input_file_id))
        self._job = Job(source, files.path(batch.output_id), files.path(batch.error_id), batch.job or "")
        self._progress(self._job.run(compute, self._progress))

    def _stop(self) -> ApiError | None:
        self._progress(self._job.report())
        if self.closing:
            raise Closing
        if self.stopped is None:
            self.stopped = self._reason()
        return self.stopped

    def _reason(self) -> ApiError | None:
        if self._batch.status == "cancelling":
            return CANCELLED
        if time.time() >= self._batch.expires_at:
            return EXPIRED
        return self._files.lack()

    def _progress(self, report: BatchReport) -> None:
        batch, before, metrics = self._batch, self._counted, self._metrics
        batch.completed, batch.failed = report.done - report.failed, report.failed
        for id in (batch.output_id, batch.error_id):
            self._files.measure(id)
        for counter, gained in (
            (metrics.prompt_tokens, report.prompt_tokens - before.prompt_tokens),
            (metrics.generated_tokens, report.completion_tokens - before.completion_tokens),
        ):
            counter.labels(batch.model).inc(gained)
        self._counted = replace(report)
