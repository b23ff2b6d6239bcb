"""`sterna bench`: measures speed beside the machine's ceilings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from sterna.cli.options import Json, Model, value_flag, with_flags
from sterna.cli.output import print_json, progress
from sterna.engine.checks import Whole
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError
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
        int | None,
        value_flag(Whole(2), "-n", help="Tokens to generate; default: 128, or fewer where the context is shorter."),
    ] = None,
    options: EngineOptions,
    repetitions: Annotated[int, value_flag(Whole(1), "-r", help="Repetitions, of which medians are taken.")] = 5,
    depth: Annotated[
        int | None, value_flag(Whole(1), "--depth", help="Positions before the first token of decode; default: 8.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure speed beside the machine's limits.

    Prefill and decode, and their shares of the machine's memory bandwidth and int8 rate.
    """
    if model is not None and synthetic is not None:
        raise ArgumentError("Give a model or --synthetic, not both.")
    from sterna.bench.synthetic import synthetic_checkpoint
    from sterna.bench.throughput import bench as measure

    with progress("measuring") as advance:
        result = measure(
            model if synthetic is None else synthetic_checkpoint(synthetic),
            synthetic or model or EMBEDDED_NAME,
            options,
            prompt_lengths=[length for lengths in prompt_lengths or () for length in lengths],
            decode_tokens=decode_tokens,
            repetitions=repetitions,
            depth=depth,
            progress=advance,
        )
    if json:
        print_json(asdict(result))
        return
    for length, speed in result.prefill_tps.items():
        print(f"prefill {length:>5}  {speed:10.1f} tokens/s")
    print(f"decode {result.decode_tokens:>6}  {result.decode_tps:10.1f} tokens/s")
    read = f"{result.bytes_per_token / 1e6:.1f} MB a token"
    print(f"decode reads {read}: {result.decode_roofline:.0%} of {result.memory_gbs:.1f} GB/s")
    print(f"prefill does {result.prefill_roofline:.0%} of {result.int8_gmacs:.0f} G int8 multiply-adds/s")
    if result.head_error is not None:
        print(
            f"head {result.head}: logits off by {result.head_error:.2%}, top token the same in {result.head_top1:.0%}"
        )
    print(f"{result.model}, {result.threads} threads, {result.isa}")
    print(f"loaded in {result.load_s:.2f} s, peak {result.peak_rss_mb:.0f} MB")
