"""`sterna plan`: what a model takes on a machine, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sterna.bench.sizing.cost import Cost, cost
from sterna.bench.sizing.machines import MachineFacts, machine
from sterna.bench.sizing.memory import cache_bytes, working_bytes
from sterna.bench.sizing.shapes import Sized
from sterna.bench.sizing.speed import Speed, speed
from sterna.bench.sizing.weights import BODIES, Weights, bits, planned, resident
from sterna.engine.options import EngineOptions
from sterna.tensor.encodings import Encoding

HERE = "HERE"
"""The name of this machine, which is measured."""


@dataclass(frozen=True)
class Memory:
    """Bytes: `weights` as they lie in memory (I2_S for a file in TQ1_0: `resident`), `cache` (keys, values and states
    of all streams), `working` (the process, and what a pass works in). `fits`: None where the machine's memory is not
    known."""

    encoding: str
    bits_per_weight: float
    weights: int
    cache: int
    working: int
    fits: bool | None

    @property
    def bytes(self) -> int:
        """All together."""
        return self.weights + self.cache + self.working


@dataclass(frozen=True)
class Sizing:
    """What `sterna plan` prints. `others`: the same model in other encodings, of which some may fit."""

    name: str
    source: str
    parameters: int
    body: str
    head: str
    weights: Weights
    memory: Memory
    others: list[Memory]
    machine: MachineFacts
    speed: Speed
    cost: Cost | None
    joules_per_token: float | None
    """Of decode, from the machine's watts under load; None where these are not known."""


@dataclass(frozen=True)
class Wish:
    """What is to be run: encodings of the layers and the head, positions of each of `streams` sequences, tokens of a
    request, prices of an hour of the machine and of a million tokens of an API."""

    body: Encoding
    head: Encoding
    context: int
    streams: int
    prompt: int
    output: int
    per_hour: float | None = None
    api_per_million: float | None = None


def size_up(
    model: Sized,
    wish: Wish,
    machine_name: str,
    options: EngineOptions,
    *,
    weights: Weights | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Sizing:
    """The memory, speed and cost of a model. `weights`: those of a model that is there.

    The machine `HERE` is measured, with the threads and the type of keys and values of `options`. Raises
    `ArgumentError` for an unknown machine.
    """
    config = model.config
    weights = weights or planned(config, wish.body, wish.head)
    in_memory = weights if wish.body is resident(wish.body) else planned(config, resident(wish.body), wish.head)
    if machine_name.upper() == HERE:
        from sterna.bench.sizing.trial import measure_here  # which imports the engine

        facts, found = measure_here(config, wish.body, wish.head, wish.context, wish.streams, options, progress)
    else:
        facts = machine(machine_name)
        found = speed(in_memory, config, wish.context, wish.streams, options.kv, facts)
    cache = cache_bytes(config, wish.context, wish.streams, options.kv)
    working = working_bytes(config, wish.streams)

    def memory(encoding: Encoding, size: int) -> Memory:
        fits = None if facts.memory_gb is None else size + cache + working <= facts.memory_gb * 1e9
        return Memory(encoding.value, bits(encoding), size, cache, working, fits)

    price = None
    if wish.per_hour is not None:
        price = cost(wish.per_hour, found.prefill_tps, found.decode_tps, wish.prompt, wish.output, wish.api_per_million)
    return Sizing(
        name=model.name,
        source=model.source,
        parameters=weights.parameters,
        body=wish.body.value,
        head=wish.head.value,
        weights=weights,
        memory=memory(wish.body, in_memory.bytes),
        others=[
            memory(body, planned(config, resident(body), wish.head).bytes) for body in BODIES if body is not wish.body
        ],
        machine=facts,
        speed=found,
        cost=price,
        joules_per_token=None if facts.watts is None else facts.watts / found.decode_tps,
    )


def advice(memory: Memory, others: Sequence[Memory]) -> str:
    """Whether a model fits, and what would."""
    if memory.fits is None:
        return "whether that fits is not known: the machine's memory is not"
    if memory.fits:
        return "that fits"
    fitting = [other.encoding for other in others if other.fits and other.bits_per_weight < memory.bits_per_weight]
    if not fitting:
        return "that does not fit, and no smaller encoding does"
    return f"that does not fit; {', '.join(fitting)} would"
