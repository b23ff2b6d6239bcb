"""Draws the curves of a run from its log: `sterna train --plot RUN`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sterna.bench.figures import new_figure, save
from sterna.errors import FormatError
from sterna.train.watch.records import RECORDS_FILE, Record, read_records

PLOT_FILE = "curves.png"


def plot_run(run: Path) -> Path:
    """Draws the log of a run, given its output folder or the log itself, to `curves.png` beside the log; returns its
    path.

    Raises NotFoundError and FormatError where there is no log (`read_records`), UnsupportedError without matplotlib.
    """
    log = run / RECORDS_FILE if run.is_dir() else run
    records = read_records(log)
    figure, grid = new_figure(2, 3, 15, 8)
    panels: Sequence[tuple[str, Callable[[Any, list[Record]], None]]] = (
        ("loss", _loss),
        ("gradient norm and learning rate", _norm),
        ("speed", _speed),
        ("share of zeros (first layer blue, last red)", lambda axes, found: _weights(axes, found, "zero")),
        ("share of codes that flip in a step", lambda axes, found: _weights(axes, found, "flips")),
        ("scale, as a multiple of the first", lambda axes, found: _weights(axes, found, "scale")),
    )
    for axes, (title, draw) in zip(grid.flat, panels, strict=True):
        axes.set_title(title)
        axes.set_xlabel("step")
        try:
            draw(axes, records)
            _mark_stages(axes, records)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"{log} has records that are not those of a training run.") from error
    return save(figure, log.parent / PLOT_FILE)


def _of(records: list[Record], kind: str) -> list[Record]:
    return [record for record in records if record["kind"] == kind]


def _mark_stages(axes: Any, records: list[Record]) -> None:
    for record in _of(records, "stage"):
        step, above = record["step"], axes.get_xaxis_transform()
        axes.axvline(step, color="0.7", linewidth=0.8)
        axes.text(step, 1.0, f" {record['stage']}", color="0.4", fontsize=7, transform=above, va="top")


def _line(axes: Any, records: list[Record], key: str, **style: Any) -> None:
    points = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    axes.plot(*zip(*points, strict=True) if points else ([], []), label=key.replace("_", " "), **style)


def _loss(axes: Any, records: list[Record]) -> None:
    steps = _of(records, "step")
    _line(axes, steps, "loss", color="C0")
    axes.set_ylabel("nats a token")
    for number, name in enumerate(dict.fromkeys(name for record in steps for name in record.get("terms", {}))):
        values = [record.get("terms", {}) | {"step": record["step"]} for record in steps]
        _line(axes, values, name, color=f"C{number + 2}", linewidth=0.8)
    if any(record.get("terms") for record in steps):
        axes.legend(fontsize=7)
    for record in _of(records, "skip"):
        axes.axvline(record["step"], color="C3", linewidth=0.5)
    valid = _of(records, "valid")
    if valid:
        other = axes.twinx()
        _line(other, valid, "bits_per_byte", color="C1", marker="o", markersize=3)
        other.set_ylabel("held out: bits a byte", color="C1")


def _norm(axes: Any, records: list[Record]) -> None:
    steps = _of(records, "step")
    _line(axes, steps, "norm", color="C0")
    axes.set_yscale("log")
    _line(other := axes.twinx(), steps, "factor", color="C1")
    other.set_ylabel("factor on the learning rates", color="C1")


def _speed(axes: Any, records: list[Record]) -> None:
    steps = _of(records, "step")
    _line(axes, steps, "tokens_per_second", color="C0")
    axes.set_ylabel("tokens a second")
    axes.set_ylim(bottom=0)
    _line(other := axes.twinx(), steps, "peak_share", color="C1")
    other.set_ylabel("share of the peak", color="C1")
    other.set_ylim(0, 1)


def _weights(axes: Any, records: list[Record], what: str) -> None:
    """A line for each matrix: its colour tells the layer (dark is first), its style the matrix."""
    counted = _of(records, "weights")
    names = list(dict.fromkeys(name for record in counted for name in record["matrices"]))
    kinds = list(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
    layers = list(dict.fromkeys(name.rsplit(".", 1)[0] for name in names))
    for name in names:
        layer, kind = name.rsplit(".", 1)
        points = [
            (record["step"], value)
            for record in counted
            if name in record["matrices"] and (value := _value(record, name, what)) is not None
        ]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        if what == "scale":
            values = tuple(value / values[0] for value in values)
        share = layers.index(layer) / max(len(layers) - 1, 1)
        axes.plot(steps, values, color=(share, 0.3, 1 - share), linestyle=_STYLES[kinds.index(kind) % len(_STYLES)])
    for kind in kinds:
        axes.plot([], [], color="0.4", linestyle=_STYLES[kinds.index(kind) % len(_STYLES)], label=kind)
    if kinds:
        axes.legend(fontsize=7)


_STYLES: list[Any] = ["-", "--", ":", "-.", (0, (1, 3)), (0, (5, 4)), (0, (3, 1, 1, 1, 1, 1))]


def _value(record: Record, name: str, what: str) -> float | None:
    value: float | None = record["matrices"][name].get(what)
    if what == "flips" and value is not None:
        return value / max(record["over"], 1)
    return value
