"""`sterna bench`: measures speed beside the machine's ceilings."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from sterna.cli.energy import Energy, WattsFlag, sensor_for
from sterna.cli.options import Json, Model, value_flag, with_flags
from sterna.cli.output import print_json, progress
from sterna.engine.checks import Whole
from sterna.engine.options import MAX_THREADS, TOKENS_PER_PASS, EngineOptions
from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.files.embedded import EMBEDDED_NAME


class Lengths(Whole):
    """Whole numbers, separated by commas."""

    def read(self, name: str, text: str) -> list[int]:
        return [super(Lengths, self).read(name, length) for length in text.split(",")]


@with_flags()
def bench(
    *,
    model: Model = None,
    synthetic: Annotated[
        str | None,
        typer.Option("--synthetic", metavar="SHAPE", help="A random model of a published shape: 2B4T, llama-1b:q4_k."),
    ] = None,
    prompt_lengths: Annotated[
        list[Any] | None,  # a list of lengths for each -p; typer knows no lists of lists
        value_flag(
            Lengths(1), "-p", help="Prompt lengths: 128,512; default: 512, or fewer where the context is shorter."
        ),
    ] = None,
    decode_tokens: Annotated[
        list[Any] | None,
        value_flag(
            Lengths(2), "-n", help="Tokens to generate: 32,128; default: 128, or fewer where the context is shorter."
        ),
    ] = None,
    threads: Annotated[
        list[Any] | None,
        value_flag(
            Lengths(1, MAX_THREADS),
            "-t",
            "--threads",
            help="Threads: 1,2,4; default: STERNA_THREADS, else all processors.",
        ),
    ] = None,
    streams: Annotated[
        list[Any] | None,
        value_flag(
            Lengths(1, TOKENS_PER_PASS), "-b", help="Numbers of streams that decode together: 1,8; default: none."
        ),
    ] = None,
    options: EngineOptions,
    repetitions: Annotated[int, value_flag(Whole(1), "-r", help="Repetitions, of which medians are taken.")] = 5,
    depth: Annotated[
        list[Any] | None,
        value_flag(
            Lengths(1),
            "--depth",
            help="Positions before the first token of decode: 8,1024; -p and -b go with the first of these and of -n.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots; needs matplotlib.")
    ] = None,
    llama_bench: Annotated[
        Path | None,
        typer.Option(
            "--llama-bench", metavar="FILE", help="With --html: what llama-bench -o json has measured, beside."
        ),
    ] = None,
    energy: Energy = False,
    watts: WattsFlag = None,
    json: Json = False,
) -> None:
    """Measure speed beside the machine's limits.

    Prefill and decode, their shares of the machine's memory bandwidth and int8 rate, and what bounds them.
    """
    if model is not None and synthetic is not None:
        raise ArgumentError("Give a model or --synthetic, not both.")
    sensor = sensor_for(energy, watts)
    from sterna.bench.figures import check_plots
    from sterna.bench.page import page, read_llama_bench
    from sterna.bench.summary import summary
    from sterna.bench.synthetic import synthetic_checkpoint
    from sterna.bench.throughput import bench as measure

    if llama_bench is not None and html is None:
        raise ArgumentError("--llama-bench goes with --html.")
    if html is not None:
        check_plots()
    peers = read_llama_bench(llama_bench) if llama_bench is not None else []
    # With each number of threads, the first point has the lengths and streams.
    points = list(product(_or_default(depth), _or_default(decode_tokens)))
    runs = [(count, *point) for count in _or_default(threads) for point in points]
    results = []
    for number, (count, each, new_tokens) in enumerate(runs):
        first = number % len(points) == 0
        with progress("measuring") as advance:
            results.append(
                measure(
                    model if synthetic is None else synthetic_checkpoint(synthetic),
                    synthetic or model or EMBEDDED_NAME,
                    replace(options, threads=count),
                    prompt_lengths=_all(prompt_lengths) if first else [],
                    decode_tokens=new_tokens,
                    streams=_all(streams) if first else [],
                    repetitions=repetitions,
                    depth=each,
                    energy=None if number else sensor,
                    progress=advance,
                )
            )
    if json:
        print_json(asdict(results[0]) if len(results) == 1 else {"runs": [asdict(result) for result in results]})
    else:
        for result in results:
            for line in summary(result):
                print(line)
    if html is not None:
        with atomic_write(html) as file:
            file.write(page(results, peers).encode())


def _all(given: list[list[int]] | None) -> list[int]:
    """The numbers of a flag that may be repeated, each time with several."""
    return [number for numbers in given or () for number in numbers]


def _or_default(given: list[list[int]] | None) -> list[int | None]:
    """The same; without any, None, which stands for the default."""
    return [*_all(given)] or [None]
