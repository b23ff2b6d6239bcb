"""Measures how fast a model runs and, in the same minutes, the machine's ceilings."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from sterna import _native
from sterna.checkpoint import Checkpoint
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine.generation import Completion
from sterna.engine.llm import LLM
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError

CEILING_BYTES = 1 << 29
"""Size in bytes of the buffer whose reading is timed: many times that of any processor's caches."""


@dataclass(frozen=True)
class BenchResult:
    """Medians of the repetitions. Speeds in tokens a second, `memory_gbs` in 1e9 bytes, `int8_gmacs` in 1e9
    multiply-adds a second.

    `bytes_per_token`: weights, head, and keys and values that one decode step reads, at the middle of the generation.
    `decode_roofline = decode_tps * bytes_per_token / memory_gbs / 1e9`; `prefill_roofline`: int8 multiply-adds of the
    ternary matrices at the longest prompt's speed, as a share of `int8_gmacs`. `head_error`, `head_top1`: relative
    error of the logits and share of equal top tokens with a requantised head (`HeadError`), None where it is as in the
    file.
    """

    model: str
    threads: int
    isa: str
    prefill_tps: dict[str, float]
    decode_tps: float
    decode_tokens: int
    depth: int
    bytes_per_token: int
    memory_gbs: float
    decode_roofline: float
    int8_gmacs: float
    prefill_roofline: float
    load_s: float
    peak_rss_mb: float
    head: str
    head_error: float | None
    head_top1: float | None


def bench(
    model: Checkpoint | str | None,
    name: str,
    options: EngineOptions | None = None,
    *,
    prompt_lengths: Sequence[int] = (),
    decode_tokens: int | None = None,
    repetitions: int = 5,
    depth: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> BenchResult:
    """Measures prefill at each length and decode after `depth` positions, alternating with the machine's ceilings.

    `model` and `options` as `LLM` takes them; `progress` is called with the share done, from 0 to 1. Defaults, where
    the context has room for them: a prompt of 512 tokens, 128 tokens of decode, a depth of 8. Raises `ArgumentError`
    for lengths that do not fit the context.
    """
    started = time.perf_counter()
    llm = LLM(model, options)
    load_s = time.perf_counter() - started
    context = llm.context_length
    prompt_lengths = prompt_lengths or [min(512, context - 1)]
    if depth is None:
        depth = max(1, min(8, context - (decode_tokens or 2)))
    if decode_tokens is None:
        decode_tokens = max(2, min(128, context - depth))
    if decode_tokens < 2 or any(not 1 <= n < context for n in (*prompt_lengths, depth, depth + decode_tokens - 1)):
        raise ArgumentError(f"Lengths must be from 2 to {context - 1} in all, to fit the context of this model.")
    rng = np.random.default_rng(0)

    def complete(prompt_tokens: int, new_tokens: int) -> Completion:
        # Every prompt is new: the prefix cache must not help.
        prompt = rng.integers(0, llm.vocab_size, prompt_tokens).tolist()
        return llm.complete([prompt], max_tokens=new_tokens, ignore_eos=True)[0]

    # One unmeasured run maps pages and allocates buffers. Measuring ceilings takes memory, so the peak is read here.
    complete(max(prompt_lengths), 2)
    llm.settle()
    peak = peak_rss_mb()
    prefill: dict[int, list[float]] = {n: [] for n in prompt_lengths}
    decode, memory, int8 = [], [], []
    for repetition in range(repetitions):
        memory.append(_native.read_bandwidth(llm.isa, CEILING_BYTES, llm.threads) / 1e9)
        decode.append(complete(depth, decode_tokens).decode_tps)
        int8.append(_native.multiply_add_rate(llm.isa, llm.threads) / 1e9)
        for length in prompt_lengths:
            prefill[length].append(complete(length, 1).prefill_tps)
        progress((repetition + 1) / repetitions)
    prefill_tps = {str(n): statistics.median(speeds) for n, speeds in prefill.items()}
    decode_tps, memory_gbs, int8_gmacs = (statistics.median(values) for values in (decode, memory, int8))
    head_error = llm.head_error
    bytes_per_token = step_bytes(llm.checkpoint, depth + decode_tokens // 2, llm.options.kv)
    return BenchResult(
        model=name,
        threads=llm.threads,
        isa=llm.isa,
        prefill_tps=prefill_tps,
        decode_tps=decode_tps,
        decode_tokens=decode_tokens,
        depth=depth,
        bytes_per_token=bytes_per_token,
        memory_gbs=memory_gbs,
        decode_roofline=decode_tps * bytes_per_token / memory_gbs / 1e9,
        int8_gmacs=int8_gmacs,
        prefill_roofline=prefill_tps[str(max(prompt_lengths))] * ternary_weights(llm.checkpoint) / int8_gmacs / 1e9,
        load_s=load_s,
        peak_rss_mb=peak,
        head=llm.options.head,
        head_error=head_error.relative if head_error else None,
        head_top1=head_error.top1 if head_error else None,
    )


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB of 2^20 bytes."""
    try:
        # getrusage would count what the parent process used before exec.
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def step_bytes(checkpoint: LoadedCheckpoint, position: int, kv: str = "f16") -> int:
    """Bytes that one decode step must read at a position: matrices, head, keys and values."""
    config = checkpoint.config
    untied_embedding = None if config.tied_head else "token_embd.weight"
    weights = sum(tensor.data.nbytes for name, tensor in checkpoint.tensors.items() if name != untied_embedding)
    head_bytes = {"f32": 4 * config.head_dim, "f16": 2 * config.head_dim, "int8": config.head_dim + 4}[kv]
    windows = (config.window(layer) for layer in range(config.num_layers))
    seen = sum(position if window is None else min(position, window) for window in windows)
    return weights + 2 * seen * config.num_kv_heads * head_bytes


def ternary_weights(checkpoint: LoadedCheckpoint) -> int:
    """Ternary weights, each of which is one int8 multiply-add a token."""
    return sum(prod(t.shape) for t in checkpoint.tensors.values() if t.encoding.is_ternary)
