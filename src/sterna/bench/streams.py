"""How fast several streams decode together, as a server runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from sterna.bench.passes import PassTimes
from sterna.engine.llm import LLM
from sterna.engine.options import TOKENS_PER_PASS
from sterna.engine.prompts import Prompt
from sterna.engine.scheduler import LEAST_FOR_PROMPTS
from sterna.errors import ArgumentError

PASSES = 8
"""Passes of all streams together that one run measures."""


@dataclass(frozen=True)
class StreamSpeed:
    """Medians over all passes. `tps`: tokens a second of all streams together; `body_ms`, `head_ms`: milliseconds that
    a pass spends on everything but the head, the choice of tokens and Python, and on the head."""

    tps: float
    body_ms: float
    head_ms: float


def tokens_of_streams(streams: int, depth: int) -> int:
    """Tokens that each of the streams generates, so that `PASSES` passes have a token of each: streams whose prompts
    of `depth` tokens enter first decode while the others wait for room in a pass."""
    room = max(LEAST_FOR_PROMPTS, TOKENS_PER_PASS - streams)
    return PASSES + 1 + -(-streams * depth // room)


def run_streams(llm: LLM, prompts: Sequence[Prompt]) -> list[PassTimes]:
    """Decodes after equally long prompts together; the times of the passes that have one token of each.

    Raises `ArgumentError` where the KV cache cannot hold them all.
    """
    with llm.profiled() as profile:
        llm.complete(prompts, max_tokens=tokens_of_streams(len(prompts), len(prompts[0])), ignore_eos=True)
    together = [times for times in profile.passes[1:] if times[:2] == (len(prompts), len(prompts))]
    if not together:
        raise ArgumentError(f"The KV cache has no room for {len(prompts)} streams; ask for fewer, or for more room.")
    return together[:PASSES]


def stream_speed(passes: Sequence[PassTimes]) -> StreamSpeed:
    """The speed of streams in some of their passes."""
    speeds, bodies, heads = [], [], []
    for tokens, _, seconds in passes:
        total, head = sum(seconds.values()), seconds["head"]
        speeds.append(tokens / total)
        bodies.append(total - head - seconds["choice"] - seconds["python"])
        heads.append(head)
    return StreamSpeed(median(speeds), 1e3 * median(bodies), 1e3 * median(heads))
