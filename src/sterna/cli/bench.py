"""`sterna bench`: measures speed beside the machine's ceilings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sterna.cli.options import Json, Model, with_flags
from sterna.cli.output import print_json, progress
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError


@with_flags()
def bench(
    *,
    model: Model = None,
    synthetic: Annotated[
        str | None, typer.Option("--synthetic", help="A random model: SHAPE or SHAPE:ENCODING.")
    ] = None,
    prompt_lengths: Annotated[list[int] | None, typer.Option("-p", help="Prompt length; may be repeated.")] = None,
    decode_tokens: Annotated[int, typer.Option("-n", help="Tokens to generate.")] = 128,
    options: EngineOptions,
    repetitions: Annotated[int, typer.Option("-r", help="Repetitions, of which medians are taken.", min=1)] = 5,
    depth: Annotated[int, typer.Option("--depth", help="Positions before the first token of decode.", min=1)] = 8,
    json: Json = False,
) -> None:
    """Prefill and decode speed, and their shares of the machine's memory bandwidth and int8 rate."""
    if model is not None and synthetic is not None:
        raise ArgumentError("Give a model or --synthetic, not both.")
    from sterna.bench.synthetic import synthetic_checkpoint
    from sterna.bench.throughput import bench as measure

    with progress("measuring") as advance:
        result = measure(
            model if synthetic is None else synthetic_checkpoint(synthetic),
            synthetic or model or "embedded",
            options,
            prompt_lengths=prompt_lengths or [512 if synthetic or model else 256],
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
    print(f"decode {decode_tokens:>6}  {result.decode_tps:10.1f} tokens/s")
    read = f"{result.bytes_per_token / 1e6:.1f} MB a token"
    print(f"decode reads {read}: {result.decode_roofline:.0%} of {result.memory_gbs:.1f} GB/s")
    print(f"prefill does {result.prefill_roofline:.0%} of {result.int8_gmacs:.0f} G int8 multiply-adds/s")
    if result.head_error is not None:
        print(
            f"head {result.head}: logits off by {result.head_error:.2%}, top token the same in {result.head_top1:.0%}"
        )
    print(f"{result.model}, {result.threads} threads, {result.isa}")
    print(f"loaded in {result.load_s:.2f} s, peak {result.peak_rss_mb:.0f} MB")
