"""The options of `LLM` and of every command that runs a model, with the names of their flags."""

from __future__ import annotations

from dataclasses import dataclass

from sterna.engine.checks import Device, OneOf, Options, Switch, Whole, option

MAX_THREADS = 1024
THREADS = Whole(1, MAX_THREADS, optional=True)
KV_TYPES = ("f16", "int8", "f32")
ACTIVATIONS = {"int8": "int8", "int15": "int15", "float": "none"}
"""Activations of ternary matrices: the option's value, and its name in a plan."""
HEADS = ("full", "q8_0", "q6_k", "q4_0")
"""`full` is the head as the file has it."""
I2S_LAYOUTS = ("x86", "arm", "x86-rows")
TOKENS_PER_PASS = 128
"""Most tokens of one forward pass. Longer prompts enter in chunks, so that other requests are not held up."""


@dataclass(frozen=True)
class EngineOptions(Options):
    """How a model is run. Raises `OptionError` for a value that cannot work."""

    device: str = option(
        "cpu",
        Device(),
        "--device",
        help="Where the model runs: cpu, a GPU (cuda, or cuda:N), or auto, the first GPU or else the CPU.",
    )
    threads: int | None = option(
        None, THREADS, "-t", "--threads", help="Threads; default: STERNA_THREADS, else all processors."
    )
    ctx: int | None = option(
        None,
        Whole(2, optional=True),
        "-c",
        "--ctx",
        help="Most tokens of prompt and text together; default and most: the model's context.",
    )
    kv: str = option(
        "f16",
        OneOf(*KV_TYPES),
        "--kv",
        help="How keys and values are kept; int8, with a scale for each head and position, takes half the memory.",
    )
    head: str = option("full", OneOf(*HEADS), "--head", help="Requantise the output matrix; full: as in the file.")
    activations: str = option(
        "int8",
        OneOf(*ACTIVATIONS),
        "--activations",
        help="What ternary and INT4 matrices take: int8, as ternary ones are trained; int15, or float for all "
        "matrices, for comparisons.",
    )
    i2s_layout: str = option(
        "x86",
        OneOf(*I2S_LAYOUTS),
        "--i2s-layout",
        help="How a GGUF file keeps I2_S: x86, arm (bitnet.cpp on ARM) or x86-rows.",
    )
    pool_tokens: int | None = option(
        None,
        Whole(1, 1 << 40, optional=True),
        "--pool-tokens",
        help="Positions that the KV cache holds for all texts together, at least one context; default: 65536, or two "
        "contexts.",
    )
    mmap: bool | None = option(
        None,
        Switch(optional=True),
        "--mmap",
        "--no-mmap",
        help="Leave weights in the mapped file, or copy them into memory, which is faster; default: copy where memory "
        "has room.",
    )
