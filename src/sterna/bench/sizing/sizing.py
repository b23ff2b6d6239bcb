"""`sterna plan`: what a model takes on a machine, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sterna.bench.sizing.cost import Cost, cost
from sterna.bench.sizing.machines import MachineFacts, machine
from sterna.bench.sizing.memory import cache_bytes, working_bytes
from sterna.bench.sizing.shapes import Sized
from sterna.bench.sizing.speed import Speed, speed
from sterna.bench.sizing.weights import BODIES, Weights, bits, in_memory, planned, resident
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
class Scenario:
    """How a model is to be run, and what that is compared with."""

    body: Encoding
    """Of the layers' matrices."""
    head: Encoding
    """Of the output matrix."""
    context: int
    """Positions of each sequence."""
    streams: int
    """Sequences that decode together."""
    prompt: int
    """Tokens of a request's prompt, for its cost."""
    output: int
    """Tokens of its answer, for its cost."""
    per_hour: float | None = None
    """The price of an hour of the machine, in any currency; None: no cost is computed."""
    api_per_million: float | None = None
    """The price of a million tokens of an API in the same currency; None: nothing is compared."""


def size_up(
    model: Sized,
    scenario: Scenario,
    machine_name: str,
    options: EngineOptions,
    *,
    weights: Weights | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Sizing:
    """The memory, speed and cost of a model. `weights`: those of a model that is there.

    The machine `HERE` is measured, with the threads and the type of keys and values of `options`. No speed counts
    rotations of activations; the basis of the speed says so for a model that has them. `progress` receives the share
    of the measurement that is done, 0 to 1. Raises `ArgumentError`, `NotFoundError` and `FormatError` as `machine`,
    `UnsupportedError` as `measure_here`.
    """
    config, body, head = model.config, scenario.body, scenario.head
    context, streams = scenario.context, scenario.streams
    weights = weights or planned(config, body, head)
    loaded = in_memory(weights, config, body, head)
    if machine_name.upper() == HERE:
        from sterna.bench.sizing.trial import measure_here  # which imports the engine

        facts, found = measure_here(config, body, head, context, streams, options, progress)
    else:
        facts = machine(machine_name)
        found = speed(loaded, config, context, streams, options.kv, facts)
    if model.has_rotations:
        found = replace(found, basis=f"{found.basis}; the rotations of its activations are not counted")
    cache = cache_bytes(config, context, streams, options.kv)
    working = working_bytes(config, streams)

    def memory(encoding: Encoding, size: int) -> Memory:
        fits = None if facts.memory_gb is None else size + cache + working <= facts.memory_gb * 1e9
        return Memory(encoding.value, bits(encoding), size, cache, working, fits)

    price = None
    if scenario.per_hour is not None:
        price = cost(
            scenario.per_hour,
            found.prefill_tps,
            found.decode_tps,
            scenario.prompt,
            scenario.output,
            scenario.api_per_million,
        )
    return Sizing(
        name=model.name,
        source=model.source,
        parameters=weights.parameters,
        body=body.value,
        head=head.value,
        weights=weights,
        memory=memory(body, loaded.bytes),
        others=[memory(other, planned(config, resident(other), head).bytes) for other in BODIES if other is not body],
        machine=facts,
        speed=found,
        cost=price,
        joules_per_token=None if facts.watts is None else facts.watts / found.decode_tps,
    )


def advice(memory: Memory, others: Sequence[Memory]) -> str:
    """Whether a model fits, and what would."""
    if memory.fits is None:
        return "whether that fits is not known, because the machine's memory is not known"
    if memory.fits:
        return "that fits"
    fitting = [other.encoding for other in others if other.fits and other.bits_per_weight < memory.bits_per_weight]
    if not fitting:
        return "that does not fit, and no smaller encoding does"
    return f"that does not fit; {', '.join(fitting)} would"
