"""The options of `LLM` and of every command that runs a model, with the names of their flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sterna.engine.checks import one_of, whole
from sterna.errors import ArgumentError

MAX_THREADS = 1024
KV_TYPES = ("f16", "int8", "f32")
ACTIVATIONS = {"int8": "int8", "int15": "int15", "float": "none"}
"""Activations of ternary matrices: the option's value, and its name in a plan."""
HEADS = ("full", "q8_0", "q6_k", "q4_0")
"""`full` is the head as the file has it."""


def flag(*names: str, help: str, metavar: str | None = None) -> dict[str, Any]:
    """Metadata of a field: its flag on the command line (`cli/options.py`)."""
    return {"names": names, "help": help, "metavar": metavar}


@dataclass(frozen=True)
class EngineOptions:
    """How a model is run. Raises `ArgumentError` for a value that cannot work."""

    threads: int | None = field(
        default=None, metadata=flag("-t", "--threads", help="Threads; default: STERNA_THREADS, else all processors.")
    )
    ctx: int | None = field(
        default=None, metadata=flag("--ctx", help="Most positions of a text; default and most: the model's context.")
    )
    kv: str = field(
        default="f16",
        metadata=flag(
            "--kv",
            help="How keys and values are kept; int8, with a scale for each head and position, takes half the memory.",
            metavar="|".join(KV_TYPES),
        ),
    )
    head: str = field(
        default="full",
        metadata=flag(
            "--head",
            help="Requantise the output matrix; full: as in the file.",
            metavar="|".join(HEADS),
        ),
    )
    activations: str = field(
        default="int8",
        metadata=flag(
            "--activations",
            help="What ternary matrices take: int8, as they are trained; int15 and float for comparisons.",
            metavar="|".join(ACTIVATIONS),
        ),
    )
    i2s_layout: str = field(
        default="x86",
        metadata=flag(
            "--i2s-layout",
            help="How a GGUF file keeps I2_S: x86, arm (bitnet.cpp on ARM) or x86-rows.",
            metavar="x86|arm|x86-rows",
        ),
    )
    pool_tokens: int | None = field(
        default=None,
        metadata=flag(
            "--pool-tokens",
            help="Positions that the KV cache holds for all texts together, at least one context; default: 65536, or "
            "two contexts.",
        ),
    )

    def __post_init__(self) -> None:
        one_of("kv", self.kv, KV_TYPES)
        one_of("head", self.head, HEADS)
        one_of("activations", self.activations, ACTIVATIONS)
        for name, least, most in (("threads", 1, MAX_THREADS), ("ctx", 2, 1 << 24), ("pool_tokens", 1, 1 << 40)):
            value = getattr(self, name)
            if value is not None and not whole(value, least, most + 1):
                raise ArgumentError(f"{name} must be a whole number from {least} to {most}, not {value!r}.")
