"""How fast a model would run here, from some of its layers: measured on random weights, and carried over to all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sterna._native import BLOCK_SIZE
from sterna.bench.ceilings import Ceilings
from sterna.bench.passes import PassTimes
from sterna.bench.sizing.machines import MachineFacts
from sterna.bench.sizing.memory import cache_bytes, working_bytes
from sterna.bench.sizing.speed import Speed, prefill_tps, step_seconds
from sterna.bench.sizing.weights import Weights, encodings, planned, resident
from sterna.bench.streams import run_streams, tokens_of_streams
from sterna.bench.synthetic import random_checkpoint
from sterna.engine.llm import LLM
from sterna.engine.machine import available_memory, cpu_name
from sterna.engine.options import EngineOptions
from sterna.errors import UnsupportedError
from sterna.model.config import ModelConfig
from sterna.tensor.encodings import Encoding

LEAST_BYTES = 1 << 28
"""Layers of a trial have at least so many bytes, unless the model has fewer: many times a processor's caches."""
PER_PASS = ("embed", "head", "choice", "python")
"""Parts of a pass that do not grow with the number of layers."""
PROMPT = 512
"""Tokens of the prompt that prefill is measured on, or the context if that is shorter."""
ROUNDS = 3


def layers_for(config: ModelConfig, weights: Weights) -> int:
    """How many layers a trial has: whole periods of layers that differ (windows, delta nets), as few as hold
    `LEAST_BYTES`."""
    period = 1
    if config.delta_net is not None or config.sliding_layers:
        period = _period([(config.has_attention(n), config.window(n)) for n in range(config.num_layers)])
    needed = -(-LEAST_BYTES * config.num_layers // max(weights.layers, 1))
    return min(config.num_layers, -(-needed // period) * period)


def _period(kinds: list[tuple[bool, int | None]]) -> int:
    """The shortest run of layers whose repetition gives all of them."""
    return next(n for n in range(1, len(kinds) + 1) if all(kind == kinds[i % n] for i, kind in enumerate(kinds)))


def slice_of(config: ModelConfig, layers: int, context: int) -> ModelConfig:
    """The configuration of the model's first layers, with room for `context` positions and without rotations."""
    net = config.delta_net
    if net is not None:
        net = replace(net, layers=tuple(layer for layer in net.layers if layer < layers))
    return replace(
        config,
        num_layers=layers,
        context_length=context,
        delta_net=net,
        sliding_layers=tuple(layer for layer in config.sliding_layers if layer < layers),
        hadamard=None,
    )


def pass_seconds(times: PassTimes, scale: float) -> float:
    """Seconds of a pass of a model with `scale` times as many layers."""
    return sum(seconds * (1 if part in PER_PASS else scale) for part, seconds in times[2].items())


def measure_here(
    config: ModelConfig,
    body: Encoding,
    head: Encoding,
    context: int,
    streams: int,
    options: EngineOptions,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[MachineFacts, Speed]:
    """This machine's limits, and the speed of a model on it: prefill, and decode of `streams` after `context`
    positions, measured on as many of its layers as `layers_for` says.

    Raises `UnsupportedError` where memory has no room for these layers.
    """
    body, head = resident(body), resident(head)
    weights = planned(config, body, head)
    layers, room = layers_for(config, weights), context + tokens_of_streams(streams, context)
    small = slice_of(config, layers, room)
    needed = planned(small, body, head).bytes + cache_bytes(small, room, streams, options.kv)
    free = available_memory()
    if free is not None and needed + working_bytes(small, streams) > free:
        raise UnsupportedError(
            f"A trial of {layers} of the model's {config.num_layers} layers does not fit this machine's memory; "
            "ask for a shorter --context or fewer --streams, or name another machine."
        )
    checkpoint = random_checkpoint(small, encodings(small, body, head), f"{layers} of {config.num_layers} layers")
    # Every stream has a block more than it fills, which the scheduler wants to see free.
    pool = streams * (room + 2 * BLOCK_SIZE)
    with LLM(checkpoint, replace(options, ctx=None, head="full", pool_tokens=pool)) as llm:
        ceilings, rng = Ceilings(llm.isa, llm.threads), np.random.default_rng(0)

        def prompt(tokens: int) -> list[int]:
            ids: list[int] = rng.integers(0, llm.vocab_size, tokens).tolist()
            return ids

        length, scale = min(PROMPT, context), config.num_layers / layers
        llm.complete([prompt(length)], max_tokens=1, ignore_eos=True)
        llm.settle()
        prefill: list[float] = []
        decode: list[float] = []
        prompts = [prompt(context) for _ in range(streams)]
        for done in range(1, ROUNDS + 1):
            ceilings.measure_memory()
            ceilings.measure_int8()
            with llm.profiled() as profile:
                llm.complete([prompt(length)], max_tokens=1, ignore_eos=True)
            prefill.append(sum(pass_seconds(times, scale) for times in profile.passes))
            decode += [pass_seconds(times, scale) for times in run_streams(llm, prompts)]
            progress(done / ROUNDS)
    facts = MachineFacts(
        f"HERE: {cpu_name()}",
        ceilings.memory_gbs,
        None if free is None else free / 1e9,
        ceilings.int8_gmacs,
        source=f"measured with {llm.threads} threads, {llm.isa}",
    )
    ideal, bound_by = step_seconds(weights, config, context, streams, options.kv, facts, ideal=True)
    found = Speed(
        streams=streams,
        context=context,
        decode_tps=streams / float(np.median(decode)),
        decode_roofline=streams / ideal,
        prefill_tps=length / float(np.median(prefill)),
        prefill_roofline=prefill_tps(weights, facts, ideal=True),
        bound_by=bound_by,
        basis=f"measured here on {layers} of {config.num_layers} layers of random weights",
    )
    assert found.prefill_tps is not None and found.prefill_roofline is not None
    return (
        replace(
            facts,
            decode_efficiency=found.decode_tps / found.decode_roofline,
            prefill_efficiency=found.prefill_tps / found.prefill_roofline,
        ),
        found,
    )
