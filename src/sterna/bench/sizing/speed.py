"""Speeds from rooflines: a pass takes as long as its bytes or its multiply-adds, whichever take longer."""

from __future__ import annotations

from dataclasses import dataclass

from sterna.bench.sizing.machines import MachineFacts
from sterna.bench.sizing.memory import kv_bytes, state_bytes
from sterna.bench.sizing.weights import Weights
from sterna.model.config import ModelConfig


@dataclass(frozen=True)
class Speed:
    """Tokens a second. `decode_tps`: of all streams together; `prefill_tps`: of one prompt, None where the machine's
    int8 rate is not known. `..._roofline` are what they would be without any loss. `bound_by`: what a step of decode
    waits for, `bytes` or `instructions`. `basis`: where the efficiency comes from."""

    streams: int
    context: int
    decode_tps: float
    decode_roofline: float
    prefill_tps: float | None
    prefill_roofline: float | None
    bound_by: str
    basis: str

    @property
    def decode_tps_each(self) -> float:
        """Of each stream."""
        return self.decode_tps / self.streams


def step_seconds(
    weights: Weights, config: ModelConfig, context: int, streams: int, kv: str, facts: MachineFacts, ideal: bool = False
) -> tuple[float, str]:
    """Seconds of a step of decode in which each of `streams` gets a token after `context` positions, and what bounds
    it.

        max(weights / bandwidth, streams · multiply-adds / rate) + streams · (keys, values and states) / bandwidth

    where bandwidth and rate are the machine's times its efficiencies, or the bare ones if `ideal`.
    """
    bandwidth = facts.memory_gbs * 1e9 * (1 if ideal else facts.decode_efficiency)
    reading = weights.read_by_a_pass / bandwidth
    multiplying = 0.0
    if facts.int8_gmacs is not None:
        rate = facts.int8_gmacs * 1e9 * (1 if ideal else facts.prefill_efficiency)
        multiplying = streams * (weights.layer_parameters + weights.head_parameters) / rate
    caches = streams * (kv_bytes(config, context, kv) + 2 * state_bytes(config)) / bandwidth  # a state is written, too
    return max(reading, multiplying) + caches, "bytes" if reading + caches > multiplying else "instructions"


def prefill_tps(weights: Weights, facts: MachineFacts, ideal: bool = False) -> float | None:
    """Tokens a second of a prompt, of which each is multiplied with all matrices of the layers."""
    if facts.int8_gmacs is None:
        return None
    return facts.int8_gmacs * 1e9 * (1 if ideal else facts.prefill_efficiency) / weights.layer_parameters


def speed(weights: Weights, config: ModelConfig, context: int, streams: int, kv: str, facts: MachineFacts) -> Speed:
    """The speed on a machine that is not here."""
    seconds, bound_by = step_seconds(weights, config, context, streams, kv, facts)
    ideal, _ = step_seconds(weights, config, context, streams, kv, facts, ideal=True)
    return Speed(
        streams=streams,
        context=context,
        decode_tps=streams / seconds,
        decode_roofline=streams / ideal,
        prefill_tps=prefill_tps(weights, facts),
        prefill_roofline=prefill_tps(weights, facts, ideal=True),
        bound_by=bound_by,
        basis=f"{facts.decode_efficiency:.0%} of the bandwidth, {facts.prefill_efficiency:.0%} of the int8 rate",
    )
