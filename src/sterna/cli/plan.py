"""`sterna plan`: what a model takes on a machine, before one has either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterna.cli.options import I2SLayout, Json, Model, value_flag, with_flags
from sterna.cli.output import console, print_json, progress
from sterna.engine.checks import Number, OneOf, Whole
from sterna.engine.options import KV_TYPES, THREADS, TOKENS_PER_PASS
from sterna.errors import ArgumentError

if TYPE_CHECKING:
    from sterna.bench.sizing.shapes import Sized
    from sterna.bench.sizing.sizing import Sizing
    from sterna.bench.sizing.weights import Weights
    from sterna.tensor.encodings import Encoding

MOST_CONTEXT = 1 << 24


@with_flags()
def plan(
    *,
    model: Model = None,
    params: Annotated[
        str | None,
        typer.Option("--params", metavar="SIZE", help="A model of this size instead: 100B, or a shape such as 2B4T."),
    ] = None,
    bits: Annotated[
        str | None,
        typer.Option(
            "--bits", metavar="X", help="Bits a weight, or a type such as i2_s; default: the model's, or 1.58."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="TYPE", help="Type of the output matrix; default: the model's, or q6_k."),
    ] = None,
    machine: Annotated[
        str,
        typer.Option("--machine", metavar="HERE|NAME|FILE", help="HERE is measured; a JSON file describes another."),
    ] = "HERE",
    context: Annotated[
        int, value_flag(Whole(1, MOST_CONTEXT), "-c", "--context", help="Positions of each stream.")
    ] = 512,
    streams: Annotated[
        int, value_flag(Whole(1, TOKENS_PER_PASS), "-b", "--streams", help="Streams that decode together.")
    ] = 1,
    kv: Annotated[str, value_flag(OneOf(*KV_TYPES), "--kv", help="How keys and values are kept.")] = "f16",
    threads: Annotated[int | None, value_flag(THREADS, "-t", "--threads", help="Threads of HERE.")] = None,
    price: Annotated[
        float | None, value_flag(Number(above=0), "--price", help="What an hour of the machine costs.")
    ] = None,
    api_price: Annotated[
        float | None,
        value_flag(Number(above=0), "--api-price", help="What a million tokens of an API cost, to compare."),
    ] = None,
    prompt: Annotated[int, value_flag(Whole(1), "--prompt", help="Tokens of a request's prompt.")] = 500,
    output: Annotated[int, value_flag(Whole(1), "--output", help="Tokens of its answer.")] = 200,
    machines: Annotated[bool, typer.Option("--machines", help="List the machines that have names.")] = False,
    claims: Annotated[
        bool, typer.Option("--claims", help="Print what is often claimed of ternary models, computed.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Draw the plan: .png or .svg.")] = None,
    i2s_layout: I2SLayout = "x86",
    json: Json = False,
) -> None:
    """Size a model for a machine.

    Weights, keys and values, speed from rooflines, what fits, and what a million tokens cost.
    """
    if claims:
        _print_claims(json)
        return
    if machines:
        _print_machines(json)
        return
    if model is not None and params is not None:
        raise ArgumentError("Give a model or --params, not both.")
    if api_price is not None and price is None:
        raise ArgumentError("--api-price needs --price, what an hour of the machine costs.")
    from sterna.bench.figures import check_plots
    from sterna.bench.sizing.sizing import Scenario, size_up
    from sterna.engine.options import EngineOptions

    if plot is not None:
        check_plots(plot)
    sized, body, own_head, weights = _of_params(params) if params else _of_model(model, i2s_layout)
    if bits is not None or head is not None:
        weights = None
    scenario = Scenario(
        _encoding(bits) if bits else body,
        _encoding(head) if head else own_head,
        context,
        streams,
        prompt,
        output,
        price,
        api_price,
    )
    with progress("measuring") as advance:
        result = size_up(
            sized, scenario, machine, EngineOptions(threads=threads, kv=kv), weights=weights, progress=advance
        )
    if json:
        print_json({**asdict(result), "weights": {**asdict(result.weights), "bytes": result.weights.bytes}})
    else:
        for line in lines(result):
            print(line)
    if plot is not None:
        from sterna.bench.sizing.figure import draw_plan

        draw_plan(result, sized.config, scenario, kv, plot)


def _encoding(text: str) -> Encoding:
    from sterna.bench.sizing.weights import body_encoding

    return body_encoding(text)


def _of_params(params: str) -> tuple[Sized, Encoding, Encoding, Weights | None]:
    from sterna.bench.sizing.shapes import sized
    from sterna.tensor.encodings import Encoding

    return sized(params), Encoding.TQ1_0, Encoding.Q6_K, None


def _of_model(model: str | None, i2s_layout: str) -> tuple[Sized, Encoding, Encoding, Weights | None]:
    from sterna.bench.sizing.shapes import Sized
    from sterna.bench.sizing.weights import layers_encoding, of_tensors
    from sterna.checkpoint import open_checkpoint
    from sterna.engine.head import head_tensor
    from sterna.files.embedded import EMBEDDED_MODEL

    checkpoint = open_checkpoint(EMBEDDED_MODEL if model is None else model, i2s_layout).load()
    has_rotations = checkpoint.config.hadamard is not None or any(
        name.endswith("_rotation.pairs") for name in checkpoint.tensors
    )
    sized = Sized(checkpoint.name, checkpoint.config, str(checkpoint.path), has_rotations)
    weights = of_tensors(checkpoint.config, checkpoint.tensors)
    return sized, layers_encoding(checkpoint.tensors), head_tensor(checkpoint).encoding, weights


def lines(result: Sizing) -> Iterator[str]:
    """A plan as text."""
    from sterna.bench.sizing.sizing import advice
    from sterna.files.sizes import readable

    memory, speed, machine = result.memory, result.speed, result.machine
    yield f"{result.name}: {result.parameters:,} parameters ({result.source})"
    yield f"weights   {readable(result.weights.layers)} layers in {result.body}, {readable(result.weights.head)} head"
    if memory.weights != result.weights.bytes:
        yield f"          in memory they are I2_S, {readable(memory.weights)} with the head"
    yield f"cache     {readable(memory.cache)}: {speed.streams} x {speed.context:,} positions"
    yield f"working   {readable(memory.working)}"
    room = "" if machine.memory_gb is None else f" of {machine.memory_gb:.0f} GB"
    yield f"together  {readable(memory.bytes)}{room}: {advice(memory, result.others)}"
    yield f"machine   {machine.name}, {machine.memory_gbs:.1f} GB/s" + (
        "" if machine.int8_gmacs is None else f", {machine.int8_gmacs:,.0f} G int8 multiply-adds/s"
    )
    yield f"source    {machine.source}" + (f", {machine.date}" if machine.date else "")
    prefill = "not known" if speed.prefill_tps is None else f"{speed.prefill_tps:.1f} tokens/s"
    yield f"prefill   {prefill}"
    each = "" if speed.streams == 1 else f", {speed.decode_tps_each:.1f} each"
    yield f"decode    {speed.decode_tps:.1f} tokens/s{each}"
    yield f"roofline  {speed.decode_roofline:.1f} tokens/s of decode, bound by {speed.bound_by}"
    yield f"basis     {speed.basis}"
    if speed.decode_tps > speed.decode_roofline:
        yield "          above the roofline of memory: this model lies in the processor's caches"
    if result.joules_per_token is not None:
        yield f"energy    {result.joules_per_token:.2g} J a token at {machine.watts:.0f} W"
    if result.cost is not None:
        yield from _cost_lines(result.cost)


def _cost_lines(cost: Any) -> Iterator[str]:
    known = [("input", cost.input), ("output", cost.output), ("both", cost.blended)]
    figures = ", ".join(f"{name} {value:.3g}" for name, value in known if value is not None)
    yield f"price     {figures} for a million tokens ({cost.prompt} + {cost.output_tokens} a request), always busy"
    if cost.busy_share is not None:
        if cost.busy_share > 1:
            yield f"API       at {cost.api_per_million:g} it is cheaper, however busy this machine is"
        else:
            yield (
                f"API       at {cost.api_per_million:g} this machine is cheaper from {cost.busy_share:.0%} busy, "
                f"{cost.requests_per_hour:,.0f} requests an hour"
            )


def _print_machines(json: bool) -> None:
    from rich.table import Table

    from sterna.bench.sizing.machines import MACHINES

    if json:
        print_json({"machines": [asdict(machine) for machine in MACHINES]})
        return
    table = Table("machine", "GB/s", "memory GB", "int8 G/s", "source", "date")
    for entry in MACHINES:
        memory = "" if entry.memory_gb is None else f"{entry.memory_gb:g}"
        rate = "" if entry.int8_gmacs is None else f"{entry.int8_gmacs:,.0f}"
        table.add_row(entry.name, f"{entry.memory_gbs:g}", memory, rate, entry.source, entry.date)
    console().print(table)


def _print_claims(json: bool) -> None:
    from sterna.bench.sizing.claims import claims

    found = list(claims())
    if json:
        print_json({"claims": [asdict(claim) for claim in found]})
        return
    for claim in found:
        print(f"{claim.said}\n    {claim.formula}\n    = {claim.gives}\n    {claim.verdict}")
