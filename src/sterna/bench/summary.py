"""A measurement as lines of text, to be read and to be sent to others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sterna.bench.ceilings import FLIP, SHARED_NS
from sterna.bench.energy.report import bench_lines
from sterna.bench.passes import NAMED_FROM, PassReport
from sterna.bench.throughput import BenchResult


def summary(result: BenchResult) -> Iterator[str]:
    """The lines that `sterna bench` prints."""
    for length, speed in result.prefill_tps.items():
        yield f"prefill {length:>5}  {speed:10.1f} tokens/s"
    yield f"decode {result.decode_tokens:>6}  {result.decode_tps:10.1f} tokens/s"
    for count, stream in result.streams.items():
        yield (
            f"streams {count:>5}  {stream.tps:10.1f} tokens/s together, "
            f"body {stream.body_ms:.1f} ms, head {stream.head_ms:.1f} ms a pass"
        )
    read = f"{result.bytes_per_token / 1e6:.1f} MB a token"
    yield f"decode reads {read}: {result.decode_roofline:.0%} of {result.memory_gbs:.1f} GB/s"
    yield f"prefill does {result.prefill_roofline:.0%} of {result.int8_gmacs:.0f} G int8 multiply-adds/s"
    for phase, step in result.step.items():
        yield f"{phase} is bound by {reason(phase, step, result.memory_gbs, result.int8_gmacs)}"
    yield from shares_table(result.step)
    if result.line_ns is not None:
        yield (
            f"memory: {result.memory_gbs:.1f} GB/s with {result.threads} threads, {result.memory_gbs_one_thread:.1f} "
            f"with one; a cache line takes {result.line_ns:.0f} ns between two threads"
        )
        yield from doubts(result.line_ns_seen)
    if result.head_error is not None:
        yield f"head {result.head}: logits off by {result.head_error:.2%}, top token the same in {result.head_top1:.0%}"
    if result.energy is not None:
        yield from bench_lines(result.energy)
    yield f"{result.model}, {result.threads} threads, {result.isa}"
    yield f"{result.machine.cpu}, {result.machine.cores} cores, {' '.join(result.machine.isas)}"
    yield f"loaded in {result.load_s:.2f} s, peak {result.peak_rss_mb:.0f} MB"


def reason(phase: str, step: PassReport, memory_gbs: float, int8_gmacs: float) -> str:
    """What a pass is bound by, with the figures that say so."""
    if step.bound_by == "barriers":
        return f"barriers: threads wait for each other for {step.shares['barriers']:.0%} of the time"
    if step.bound_by == "python":
        return f"Python: it takes {step.shares['python']:.0%} of the time"
    if phase == "prefill" and step.bound_by == "instructions":
        return f"instructions: matrices do {step.gmacs:.0f} G multiply-adds/s where int8 gives {int8_gmacs:.0f}"
    return f"{step.bound_by}: matrices read {step.gbs['matrices']:.1f} GB/s where memory gives {memory_gbs:.1f}"


def shares_table(steps: dict[str, PassReport]) -> Iterator[str]:
    """The shares of the parts, of which all that reach `NAMED_FROM` in one of the passes are named."""
    parts = {part: None for step in steps.values() for part, share in step.shares.items() if share >= NAMED_FROM}
    yield f"{'share of a pass':<16}" + "".join(f"{phase:>10}" for phase in steps)
    for part in parts:
        yield f"{part:<16}" + "".join(f"{step.shares.get(part, 0.0):>10.1%}" for step in steps.values())
    rest = [sum(share for part, share in step.shares.items() if part not in parts) for step in steps.values()]
    yield f"{'others':<16}" + "".join(f"{share:>10.1%}" for share in rest)
    yield f"{'ms':<16}" + "".join(f"{step.ms:>10.2f}" for step in steps.values())


def doubts(line_ns_seen: Sequence[float]) -> Iterator[str]:
    """Why figures of several threads may mean little, by the latencies of a cache line during the measurement."""
    least, most = min(line_ns_seen), max(line_ns_seen)
    if most >= SHARED_NS:
        yield f"another program took processors away: a cache line took up to {most:.0f} ns; measure again without it"
    elif most > FLIP * least:
        yield f"the bus changed its state: a cache line took from {least:.0f} to {most:.0f} ns; speeds mix two states"
