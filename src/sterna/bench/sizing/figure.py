"""A plan as a figure: what fits, and decode over context and over streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sterna.bench.figures import new_figure, save
from sterna.bench.sizing.sizing import Scenario, Sizing
from sterna.bench.sizing.speed import step_seconds
from sterna.bench.sizing.weights import in_memory
from sterna.model.config import ModelConfig

LEAST_CONTEXT, MOST_STREAMS = 64, 64


def draw_plan(sizing: Sizing, config: ModelConfig, scenario: Scenario, kv: str, path: Path) -> Path:
    """Draws a plan of a model of this configuration into a file, PNG or as its name says; returns the path. Curves are
    rooflines with the machine's efficiencies, which for HERE are those that were measured at the plan's own context and
    streams. Raises UnsupportedError without matplotlib."""
    weights = in_memory(sizing.weights, config, scenario.body, scenario.head)

    def decode_tps(context: int, streams: int) -> float:
        return streams / step_seconds(weights, config, context, streams, kv, sizing.machine)[0]

    figure, axes = new_figure(1, 3, 16, 5)
    _memory(axes[0][0], sizing)
    contexts = _doubled(LEAST_CONTEXT, max(scenario.context, 2 * LEAST_CONTEXT))
    _curve(axes[0][1], contexts, lambda context: decode_tps(context, scenario.streams), "positions of each stream")
    axes[0][1].set_title(f"decode, {scenario.streams} streams")
    counts = _doubled(1, max(scenario.streams, MOST_STREAMS))
    _curve(axes[0][2], counts, lambda count: decode_tps(scenario.context, count), "streams")
    axes[0][2].set_title(f"decode after {scenario.context:,} positions")
    figure.suptitle(f"{sizing.name} on {sizing.machine.name} ({sizing.speed.basis})")
    return save(figure, path)


def _memory(axes: Any, sizing: Sizing) -> None:
    """Weights, cache and working memory in each encoding, beside the machine's memory."""
    rows = [sizing.memory, *sizing.others]
    names, begin = [row.encoding for row in rows], [0.0] * len(rows)
    for part in ("weights", "cache", "working"):
        sizes = [getattr(row, part) / 1e9 for row in rows]
        axes.barh(names, sizes, left=begin, label=part)
        begin = [left + size for left, size in zip(begin, sizes, strict=True)]
    if sizing.machine.memory_gb is not None:
        axes.axvline(sizing.machine.memory_gb, color="0.3", linestyle="--", label="the machine's")
    axes.set(title="memory", xlabel="GB")
    axes.legend()


def _curve(axes: Any, values: list[int], tps: Callable[[int], float], label: str) -> None:
    axes.plot(values, [tps(value) for value in values], marker="o")
    axes.set_xscale("log", base=2)
    axes.set(xlabel=label, ylabel="tokens/s of all", ylim=(0, None))


def _doubled(least: int, most: int) -> list[int]:
    """From the least on, each twice the one before, up to the most, which is the last."""
    values = []
    while least < most:
        values.append(least)
        least *= 2
    return [*values, most]
