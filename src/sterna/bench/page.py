"""Measurements as a page of HTML: rooflines, prefill over length, decode over context, and streams together, beside
what llama-bench measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from sterna.bench.figures import new_figure, svg
from sterna.bench.summary import summary
from sterna.bench.throughput import BenchResult
from sterna.errors import FormatError
from sterna.files.regular import open_regular

LARGEST = 1 << 24
"""Bytes of a file of llama-bench."""


@dataclass(frozen=True)
class PeerSpeed:
    """One test of llama-bench: tokens of its prompt and of its answer, one of them 0, the positions before them, and
    tokens a second."""

    prompt: int
    answer: int
    depth: int
    tps: float


def read_llama_bench(path: Path) -> list[PeerSpeed]:
    """The tests in a file that `llama-bench -o json` has written. Raises NotFoundError and FormatError for others."""
    try:
        with open_regular(path) as file:
            rows = json.loads(file.read(LARGEST))
        if not isinstance(rows, list):
            raise ValueError
        return [
            PeerSpeed(int(row["n_prompt"]), int(row["n_gen"]), int(row.get("n_depth", 0)), float(row["avg_ts"]))
            for row in rows
        ]
    except (FormatError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise FormatError(f"{path} is not what llama-bench -o json writes.") from None


def page(results: Sequence[BenchResult], peers: Sequence[PeerSpeed] = ()) -> str:
    """The page of measurements of one model, of which the first with each number of threads has the lengths and
    streams. Raises UnsupportedError without matplotlib."""
    counts = ", ".join(str(count) for count in dict.fromkeys(result.threads for result in results))
    title = escape(f"{results[0].model}: {counts} threads, {results[0].isa}")
    text = "\n\n".join("\n".join(summary(result)) for result in results)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n'
        f"{svg(_figure(results, peers))}\n<pre>{escape(text)}</pre>\n</html>\n"
    )


def _figure(results: Sequence[BenchResult], peers: Sequence[PeerSpeed]) -> Any:
    figure, axes = new_figure(2, 2, 12, 8)
    (limits, prefill), (decode, streams) = axes
    runs: dict[int, list[BenchResult]] = {}
    for result in results:
        runs.setdefault(result.threads, []).append(result)
    for number, (count, same) in enumerate(runs.items()):
        first, label = same[0], "Sterna" if len(runs) == 1 else f"Sterna, {count} threads"
        names = [f"{phase}\n{count} threads" for phase in ("decode, of the bandwidth", "prefill, of the int8 rate")]
        limits.barh(names, [first.decode_roofline, first.prefill_roofline], color=f"C{number}")
        _line(prefill, [(int(length), tps) for length, tps in first.prefill_tps.items()], label)
        alike = [(each.depth, each.decode_tps) for each in same if each.decode_tokens == first.decode_tokens]
        _line(decode, alike, label)
        together = [(int(number), stream.tps) for number, stream in first.streams.items()]
        _line(streams, [(1, first.decode_tps), *(point for point in together if point[0] > 1)], label)
    limits.axvline(1.0, color="0.5")
    machine = results[0]
    limits.set(
        title=f"rooflines: {machine.memory_gbs:.1f} GB/s, {machine.int8_gmacs:.0f} G multiply-adds/s", xlim=(0, 1.1)
    )
    _line(prefill, [(row.prompt, row.tps) for row in peers if not row.answer and not row.depth], "llama-bench")
    prefill.set(title="prefill", xlabel="tokens of the prompt", ylabel="tokens/s", ylim=(0, None))
    _line(decode, [(row.depth, row.tps) for row in peers if not row.prompt], "llama-bench")
    decode.set(title="decode", xlabel="positions before it", ylabel="tokens/s", ylim=(0, None))
    streams.set(title="streams together", xlabel="streams", ylabel="tokens/s of all", ylim=(0, None))
    return figure


def _line(axes: Any, points: Sequence[tuple[int, float]], label: str) -> None:
    if points:
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label)
        axes.legend()
