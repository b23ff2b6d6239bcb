"""`sterna batch`: the lines of a file through a model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sterna.cli.energy import Energy, WattsFlag, metered, sensor_for
from sterna.cli.options import Model, value_flag, with_flags
from sterna.cli.streams import say
from sterna.engine.checks import Number, Whole
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError

if TYPE_CHECKING:
    from sterna.batch.report import BatchReport
    from sterna.bench.energy.meter import Meter

SOME_FAILED = 3
"""Exit status where lines are in the error file."""


@with_flags(max_tokens=256)
def batch(
    *,
    source: Annotated[str, typer.Argument(metavar="IN", help="JSON lines, a Parquet table (.parquet) or - for stdin.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="JSON lines or a Parquet table (.parquet).")],
    model: Model = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors",
            metavar="FILE",
            help="Lines that could not be answered; default: OUT.errors.jsonl.",
        ),
    ] = None,
    price: Annotated[
        float | None,
        value_flag(
            Number(least=0), "--price", help="What an hour of this machine costs; what a million tokens cost is told."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Run on the Ray cluster at this address; local: on one of this machine.",
        ),
    ] = None,
    map: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="What is asked about each part of the documents in the folder IN; {text} is the part.",
        ),
    ] = None,
    chunk: Annotated[
        int | None,
        value_flag(Whole(1), "--chunk", help="Most tokens of a part; default: what the context has room for."),
    ] = None,
    overlap: Annotated[
        int | None,
        value_flag(Whole(0), "--overlap", help="Tokens that a part has from the one before; default: a tenth."),
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", metavar="FILE", help="The JSON schema of the answers."),
    ] = None,
    seed: Annotated[
        int, value_flag(Whole(0, 2**64 - 1), "--seed", help="Of the run; each line has a seed of its own from it.")
    ] = 0,
    energy: Energy = False,
    watts: WattsFlag = None,
    params: SamplingParams,
    options: EngineOptions,
) -> None:
    """Answer the lines of a file, many at a time.

    Lines are those of OpenAI's batch files, or rows with a prompt or messages; the flags of sampling are for rows. A
    folder of documents is cut into parts. A job that was broken off goes on with the same command.
    """
    from sterna.batch import Documents, run

    if map is None and (chunk, overlap, schema) != (None, None, None):
        raise ArgumentError("--chunk, --overlap and --schema go with --map.")
    if energy and ray is not None:
        raise ArgumentError("--energy measures this machine, and --ray works on others.")
    sensor = sensor_for(energy, watts)
    documents = None if map is None else Documents.read(map, chunk, overlap, schema)
    try:
        with _progress(price) as progress, metered(sensor) as meter:
            report = run(
                source,
                output,
                model,
                errors=errors,
                seed=seed,
                ray=ray,
                params=params,
                options=options,
                progress=progress,
                documents=documents,
            )
    except KeyboardInterrupt:
        say("Stopped. What is done is kept; the same command goes on from there.")
        raise
    say(_summary(report, price))
    if sensor is not None:
        for line in _energy_lines(model, options, report, meter, sensor[1]):
            say(line)
    if report.failed:
        raise typer.Exit(SOME_FAILED)


def _summary(report: BatchReport, price: float | None) -> str:
    """What has been done, in one line."""
    parts = [f"{report.done:,} lines"]
    if report.failed:
        parts.append(f"{report.failed:,} of them in the error file")
    if report.tokens_per_second:
        parts.append(f"{report.tokens_per_second:,.0f} tokens/s")
        parts.append(f"{report.cached_tokens / max(report.prompt_tokens, 1):.0%} of the prompts from the cache")
    cost = None if price is None else report.price_per_million(price)
    if cost is not None:
        parts.append(f"{cost:.3g} for a million tokens")
    return ", ".join(parts) + "."


def _energy_lines(
    model: str | None, options: EngineOptions, report: BatchReport, meter: Meter | None, reason: str
) -> Iterator[str]:
    """What the tokens that were computed took."""
    from sterna.bench.energy.arithmetic import pass_of
    from sterna.bench.energy.report import job_lines
    from sterna.bench.sizing.weights import of_tensors
    from sterna.checkpoint import open_checkpoint
    from sterna.files.embedded import EMBEDDED_MODEL

    checkpoint = open_checkpoint(EMBEDDED_MODEL if model is None else model, options.i2s_layout).load()
    weights = of_tensors(checkpoint.config, checkpoint.tensors).read_by_a_pass
    tokens = report.prompt_tokens - report.cached_tokens + report.completion_tokens
    measured = None if meter is None else meter.energy
    yield from job_lines(pass_of(checkpoint.config), weights, tokens, measured, reason or "the sensor failed")


@contextmanager
def _progress(price: float | None) -> Iterator[Callable[[BatchReport], None] | None]:
    """A line on stderr that says how far a job is; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("loading", total=None)

        def show(report: BatchReport) -> None:
            left = "" if report.seconds_left is None else f" {_time(report.seconds_left)} left."
            total = None if report.share is None else 1.0
            bar.update(task, total=total, completed=report.share, description=_summary(report, price) + left)

        yield show


def _time(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
