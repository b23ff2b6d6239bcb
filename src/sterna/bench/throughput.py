"""Measures how fast a model runs and, in the same minutes, the machine's ceilings."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from sterna import _native
from sterna.bench.ceilings import Ceilings
from sterna.bench.energy.report import EnergyReport, energy_of
from sterna.bench.energy.sensors import Sensor
from sterna.bench.passes import PassReport, PassTimes, Work, report
from sterna.bench.sizing.memory import kv_bytes
from sterna.bench.streams import StreamSpeed, run_streams, stream_speed, tokens_of_streams
from sterna.checkpoint import Checkpoint
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine.generation import Completion
from sterna.engine.llm import LLM
from sterna.engine.machine import Machine, this_machine
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError

PROFILED_TOKENS = 32
"""Tokens of decode whose passes are profiled in each repetition."""


@dataclass(frozen=True)
class BenchResult:
    """Medians of the repetitions. Speeds in tokens a second, `memory_gbs` in 1e9 bytes, `int8_gmacs` in 1e9
    multiply-adds a second.

    `bytes_per_token`: weights, head, and keys and values that one decode step reads, at the middle of the generation.
    `decode_roofline = decode_tps * bytes_per_token / memory_gbs / 1e9`; `prefill_roofline`: int8 multiply-adds of the
    ternary matrices at the longest prompt's speed, as a share of `int8_gmacs`. `memory_gbs_one_thread`: what one thread
    reads alone. `line_ns`: nanoseconds that a cache line takes from one thread to another, None with one thread;
    `line_ns_seen`: all its measurements in order, before and after each run of decode. `step`: where the time of a pass
    of `decode` and of `prefill` (the longest prompt) goes. `streams`: the speed of streams decoding together, by their
    number. `head_error`, `head_top1`: relative error of the logits and share of equal top tokens with a requantised
    head (`HeadError`), None where it is as in the file.
    """

    model: str
    machine: Machine
    threads: int
    isa: str
    prefill_tps: dict[str, float]
    decode_tps: float
    decode_tokens: int
    depth: int
    bytes_per_token: int
    memory_gbs: float
    memory_gbs_one_thread: float
    line_ns: float | None
    line_ns_seen: list[float]
    decode_roofline: float
    int8_gmacs: float
    prefill_roofline: float
    step: dict[str, PassReport]
    bound_by: dict[str, str]
    streams: dict[str, StreamSpeed]
    load_s: float
    peak_rss_mb: float
    head: str
    head_error: float | None
    head_top1: float | None
    energy: EnergyReport | None = None
    """None where it was not asked for."""


def bench(
    model: Checkpoint | str | None,
    name: str,
    options: EngineOptions | None = None,
    *,
    prompt_lengths: Sequence[int] = (),
    decode_tokens: int | None = None,
    streams: Sequence[int] = (),
    repetitions: int = 5,
    depth: int | None = None,
    energy: tuple[Sensor | None, str] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> BenchResult:
    """Measures prefill at each length, and decode after `depth` positions, alone and in so many streams together,
    alternating with the machine's ceilings.

    `model` and `options` as `LLM` takes them; `energy`: what `find_sensor` found, where energy is to be measured, too;
    `progress` is called with the share done, from 0 to 1. Defaults, where the context has room for them: a prompt of
    512 tokens, 128 tokens of decode, a depth of 8, no streams. Raises `ArgumentError` for lengths that do not fit the
    context, and for more streams than the KV cache holds.
    """
    started = time.perf_counter()
    llm = LLM(model, options)
    load_s = time.perf_counter() - started
    prompt_lengths, decode_tokens, depth = _lengths(llm.context_length, prompt_lengths, decode_tokens, depth, streams)
    rng = np.random.default_rng(0)

    def prompt(tokens: int) -> list[int]:
        ids: list[int] = rng.integers(0, llm.vocab_size, tokens).tolist()
        return ids

    def complete(prompt_ids: list[int], new_tokens: int) -> Completion:
        return llm.complete([prompt_ids], max_tokens=new_tokens, ignore_eos=True)[0]

    # Decode continues the same prompts every time, so that the prefix cache saves their computation.
    prompts = [prompt(depth) for _ in range(max((1, *streams)))]
    longest = max(prompt_lengths)
    # One unmeasured run maps pages and allocates buffers. Measuring ceilings takes memory, so the peak is read here.
    complete(prompt(longest), 2)
    llm.settle()
    peak = peak_rss_mb()
    prefill: dict[int, list[float]] = {n: [] for n in prompt_lengths}
    decode: list[float] = []
    decode_passes: list[PassTimes] = []
    prefill_passes: list[PassTimes] = []
    stream_passes: dict[int, list[PassTimes]] = {n: [] for n in streams}
    ceilings = Ceilings(llm.isa, llm.threads)
    for repetition in range(repetitions):
        ceilings.measure_memory()
        ceilings.measure_line()
        decode.append(complete(prompts[0], decode_tokens).decode_tps)
        ceilings.measure_line()
        with llm.profiled() as profile:
            complete(prompts[0], min(decode_tokens, PROFILED_TOKENS))
        decode_passes += [times for times in profile.passes[1:] if times[0] == 1]
        ceilings.measure_int8()
        for length in prompt_lengths:
            # Every prompt is new: the prefix cache must not help.
            prefill[length].append(complete(prompt(length), 1).prefill_tps)
        with llm.profiled() as profile:
            complete(prompt(longest), 1)
        prefill_passes += profile.passes
        for count, passes in stream_passes.items():
            passes += run_streams(llm, prompts[:count])
        progress((repetition + 1) / repetitions)
    prefill_tps = {str(n): statistics.median(speeds) for n, speeds in prefill.items()}
    decode_tps, memory_gbs, int8_gmacs = statistics.median(decode), ceilings.memory_gbs, ceilings.int8_gmacs
    head_error = llm.head_error
    position = depth + decode_tokens // 2
    bytes_per_token = step_bytes(llm.checkpoint, position, llm.options.kv)
    read = {"matrices": profile.matrix_bytes, "head": profile.head_bytes}
    read_by_decode = {**read, "attention": kv_bytes(llm.checkpoint.config, position, llm.options.kv)}
    step = {
        "decode": report(decode_passes, Work(read_by_decode, profile.multiply_adds), memory_gbs),
        "prefill": report(prefill_passes, Work(read, profile.multiply_adds), memory_gbs),
    }
    return BenchResult(
        model=name,
        machine=this_machine(),
        threads=llm.threads,
        isa=llm.isa,
        prefill_tps=prefill_tps,
        decode_tps=decode_tps,
        decode_tokens=decode_tokens,
        depth=depth,
        bytes_per_token=bytes_per_token,
        memory_gbs=memory_gbs,
        memory_gbs_one_thread=ceilings.memory_gbs_one_thread,
        line_ns=ceilings.line_ns,
        line_ns_seen=ceilings.line_ns_seen,
        decode_roofline=decode_tps * bytes_per_token / memory_gbs / 1e9,
        int8_gmacs=int8_gmacs,
        prefill_roofline=prefill_tps[str(longest)] * ternary_weights(llm.checkpoint) / int8_gmacs / 1e9,
        step=step,
        bound_by={phase: passes.bound_by for phase, passes in step.items()},
        streams={str(count): stream_speed(passes) for count, passes in stream_passes.items()},
        load_s=load_s,
        peak_rss_mb=peak,
        head=llm.options.head,
        head_error=head_error.relative if head_error else None,
        head_top1=head_error.top1 if head_error else None,
        energy=energy_of(llm, bytes_per_token, *energy) if energy else None,
    )


def _lengths(
    context: int, prompt_lengths: Sequence[int], decode_tokens: int | None, depth: int | None, streams: Sequence[int]
) -> tuple[Sequence[int], int, int]:
    """The lengths of `bench`, with its defaults for those that are not given."""
    prompt_lengths = prompt_lengths or [min(512, context - 1)]
    if depth is None:
        depth = max(1, min(8, context - (decode_tokens or 2)))
    if decode_tokens is None:
        decode_tokens = max(2, min(128, context - depth))
    if decode_tokens < 2 or any(not 1 <= n < context for n in (*prompt_lengths, depth, depth + decode_tokens - 1)):
        raise ArgumentError(f"Lengths must be from 2 to {context - 1} in all, to fit the context of this model.")
    for count in streams:
        needed = depth + tokens_of_streams(count, depth)
        if needed > context:
            raise ArgumentError(f"{count} streams need a context of {needed} tokens; here it has {context}.")
    return prompt_lengths, decode_tokens, depth


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB of 2^20 bytes."""
    try:
        # getrusage would count what the parent process used before exec.
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return _native.peak_memory() / 2**20


def step_bytes(checkpoint: LoadedCheckpoint, position: int, kv: str = "f16") -> int:
    """Bytes that one decode step must read at a position: matrices, head, keys and values."""
    untied_embedding = None if checkpoint.config.tied_head else "token_embd.weight"
    weights = sum(tensor.data.nbytes for name, tensor in checkpoint.tensors.items() if name != untied_embedding)
    return weights + kv_bytes(checkpoint.config, position, kv)


def ternary_weights(checkpoint: LoadedCheckpoint) -> int:
    """Ternary weights, each of which is one int8 multiply-add a token."""
    return sum(prod(t.shape) for t in checkpoint.tensors.values() if t.encoding.is_ternary)
