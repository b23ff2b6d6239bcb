"""The three figures of energy that `sterna bench --energy` and `sterna batch --energy` print, each by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sterna.bench.energy.arithmetic import NODES, Pass, pass_of
from sterna.bench.energy.meter import Energy, Meter, measure_idle
from sterna.bench.energy.movement import PICOJOULES_A_BIT, joules
from sterna.bench.energy.sensors import Sensor
from sterna.engine.llm import LLM
from sterna.engine.options import TOKENS_PER_PASS

IDLE_SECONDS, WORK_SECONDS = 10.0, 30.0


@dataclass(frozen=True)
class Measured:
    """Joules of one token of `prefill` and of `decode`, gross and net of what the machine takes when idle."""

    source: str
    idle_watts: float
    prefill: float
    prefill_net: float
    decode: float
    decode_net: float


@dataclass(frozen=True)
class EnergyReport:
    """`arithmetic`: joules a token by process node, ternary and in float16 (a model of operations alone). `memory`:
    least and most joules to bring `bytes_per_token` from memory. `measured`: None without a sensor; `reason` says why.
    """

    arithmetic: dict[str, dict[str, float]]
    memory: tuple[float, float]
    bytes_per_token: int
    measured: Measured | None
    reason: str | None


def modelled(work: Pass, bytes_per_token: int, measured: Measured | None, reason: str | None) -> EnergyReport:
    """The report of a model whose token multiplies `work` and reads so many bytes."""
    arithmetic = {
        name: {
            "ternary_j": work.joules(node, ternary=True, tokens=1),
            "fp16_j": work.joules(node, ternary=False, tokens=1),
            "ratio": work.ratio(node),
        }
        for name, node in NODES.items()
    }
    return EnergyReport(arithmetic, joules(bytes_per_token), bytes_per_token, measured, reason)


def energy_of(
    llm: LLM,
    bytes_per_token: int,
    sensor: Sensor | None,
    reason: str,
    idle_s: float = IDLE_SECONDS,
    work_s: float = WORK_SECONDS,
) -> EnergyReport:
    """The energy of a model: two figures from models, and with a `sensor` that of prefill and decode."""
    measured = None
    if sensor is not None:
        measured = _measure(llm, sensor, idle_s, work_s)
        reason = reason or f"the sensor ({sensor.source}) failed while it was read"
    return modelled(pass_of(llm.checkpoint.config), bytes_per_token, measured, None if measured else reason)


def _measure(llm: LLM, sensor: Sensor, idle_s: float, work_s: float) -> Measured | None:
    idle = measure_idle(sensor, idle_s)
    rng = np.random.default_rng(0)
    prompt, answer = (min(most, llm.context_length - 1) for most in (512, 128))

    def work(prompt_tokens: int, new_tokens: int, counted: int) -> tuple[Energy | None, int]:
        """The energy of repeating a request, and how many tokens it had."""
        tokens, until = 0, time.perf_counter() + work_s
        with Meter(sensor) as meter:
            while not tokens or time.perf_counter() < until:
                ids = rng.integers(0, llm.vocab_size, prompt_tokens).tolist()
                llm.complete([ids], max_tokens=new_tokens, ignore_eos=True)
                tokens += counted
        return meter.energy, tokens

    llm.complete([[0]], max_tokens=1, ignore_eos=True)  # warms up
    prefill, prefill_tokens = work(prompt, 1, prompt)
    decode, decode_tokens = work(1, answer, answer)
    if idle is None or prefill is None or decode is None:
        return None
    return Measured(
        source=prefill.source,
        idle_watts=idle.watts,
        prefill=prefill.joules / prefill_tokens,
        prefill_net=prefill.above(idle) / prefill_tokens,
        decode=decode.joules / decode_tokens,
        decode_net=decode.above(idle) / decode_tokens,
    )


def bench_lines(report: EnergyReport) -> Iterator[str]:
    """The three lines of `sterna bench --energy`."""
    figures = ", ".join(
        f"{node} {figure['ternary_j'] * 1e6:.3g} µJ ({figure['ratio']:.1f} times less than FP16)"
        for node, figure in report.arithmetic.items()
    )
    yield f"energy, arithmetic model: with ternary weights a token takes {figures}"
    yield f"energy, memory model: {_memory(report.bytes_per_token)} a token of decode"
    measured = report.measured
    if measured is None:
        yield f"energy, measured: nothing, because {report.reason}"
        return
    yield (
        f"energy, measured ({measured.source}): prefill {measured.prefill:.3g} J a token "
        f"({measured.prefill_net:.3g} above idle), decode {measured.decode:.3g} "
        f"({measured.decode_net:.3g} above idle), idle {measured.idle_watts:.1f} W"
    )


def job_lines(work: Pass, weights: int, tokens: int, energy: Energy | None, reason: str) -> Iterator[str]:
    """The three lines at the end of a job that computed so many tokens with `weights` bytes of weights."""
    ternary = work.joules(NODES["7nm"], ternary=True, tokens=tokens)
    yield f"energy, arithmetic model: {ternary:.3g} J at 7 nm with ternary weights"
    passes = -(-tokens // TOKENS_PER_PASS)
    yield f"energy, memory model: at least {_memory(weights * passes)}, if every pass were full"
    if energy is None:
        yield f"energy, measured: nothing, because {reason}"
    else:
        each = f", {energy.joules / tokens:.3g} J a token" if tokens else ""
        yield f"energy, measured ({energy.source}): {energy.joules:.4g} J{each}, {energy.watts:.1f} W, idle included"


def _memory(size: int) -> str:
    (least, most), (low, high) = joules(size), PICOJOULES_A_BIT
    return f"{least:.3g} to {most:.3g} J for {size / 1e6:.1f} MB at {low:g} to {high:g} pJ a bit"
