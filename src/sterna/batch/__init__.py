"""`sterna batch`: the lines of a file through a model, many at a time (docs/batch.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from sterna.batch.documents import Documents
from sterna.batch.job import Job, job_text
from sterna.batch.lines import Entry
from sterna.batch.outcome import Outcome
from sterna.batch.report import BatchReport, Progress
from sterna.batch.source import Source, open_source
from sterna.batch.worker import PLAIN, Worker, open_answerer
from sterna.checkpoint import open_checkpoint
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError
from sterna.files.embedded import EMBEDDED_NAME
from sterna.files.fingerprint import fingerprint
from sterna.files.hub.cache import resolve_model

__all__ = ["PLAIN", "BatchReport", "Documents", "Progress", "Worker", "run"]


def run(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    errors: str | os.PathLike[str] | None = None,
    seed: int = 0,
    ray: str | None = None,
    params: SamplingParams = PLAIN,
    options: EngineOptions | None = None,
    progress: Progress | None = None,
    documents: Documents | None = None,
) -> BatchReport:
    """Answers the lines of `src` into `dst`. A run that broke off goes on where it was, to the same bytes.

    `src`: JSON lines, a Parquet table (`.parquet`), or `-` for standard input; docs/batch.md has the lines. `dst`: JSON
    lines or a Parquet table, in the order of the input. `errors`: JSON lines about what could not be answered; default:
    `dst` with `.errors.jsonl` after it. `model`: as `LLM` takes it. `params`: for plain rows, which may say otherwise.
    `progress` is called a few times a second. `ray`: the address of a Ray cluster, or `local` for one on this machine.
    `documents`: what is asked about the documents of the folder `src`.

    Raises ArgumentError where `dst` holds answers of another job; NotFoundError, FormatError or UnsupportedError for an
    input that cannot be read; OSError; and as `LLM`.
    """
    name = EMBEDDED_NAME if model is None else os.fspath(model)
    output = Path(dst)
    error_file = Path(f"{output}.errors.jsonl" if errors is None else errors)
    _check_apart(src, output, error_file)
    options = options or EngineOptions()
    if documents is None:
        source = open_source(src)
        path = resolve_model(name)
    else:
        path = resolve_model(name)
        source = _documents(documents, Path(src), path, params, options)
    params = replace(params, seed=None)
    job = Job(source, output, error_file, job_text(fingerprint(path), seed, params, options))

    def compute(entries: Iterable[Entry]) -> Iterator[Outcome]:
        rest = iter(entries)
        first = next(rest, None)
        if first is None:  # so the model is not needed
            return
        if ray is not None:
            from sterna.batch.ray import outcomes_on_ray

            yield from outcomes_on_ray(chain([first], rest), ray, name, seed, params, options)
            return
        answerer = open_answerer(name, seed, params, options)
        with answerer.llm, closing(answerer.outcomes(chain([first], rest))) as outcomes:
            yield from outcomes

    return job.run(compute, progress)


def _documents(asked: Documents, folder: Path, model: Path, params: SamplingParams, options: EngineOptions) -> Source:
    checkpoint = open_checkpoint(model, options.i2s_layout)
    context = options.ctx or checkpoint.config.context_length
    return asked.source(folder, checkpoint.tokenizer(), context, params.max_tokens)


def _check_apart(src: str | os.PathLike[str], output: Path, errors: Path) -> None:
    """Raises ArgumentError where one file would be two of these, and for an output that is no file."""
    if os.fspath(output) == "-":
        raise ArgumentError("The output is a file; - stands for standard input alone.")
    paths = [os.path.realpath(path) for path in (src, output, errors)]
    if len(set(paths)) < len(paths):
        raise ArgumentError("The input, the output and the error file are three files.")
