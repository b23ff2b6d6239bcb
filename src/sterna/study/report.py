"""A study as a table and as a plot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sterna.bench.figures import new_figure, save
from sterna.study.degradation import Study
from sterna.study.statistics import Ratio


def lines(study: Study) -> Iterator[str]:
    """The table, one row a precision, and what was counted."""
    for model, sha256 in study.models.items():
        yield f"{model:<10} sha256 {sha256}"
    for model, tasks in study.counted.items():
        yield f"{model}: tasks that count: {', '.join(tasks) or 'none'}"
        if study.stand_in[model]:
            yield f"{model}: no task of maths passes the filter; problems as four choices stand in"
    columns = f"{'maths':>9}{'(tokens)':>10}{'(choices)':>11}{'language':>10}  maths/language"
    yield f"{'precision':<26}{'model':<10}{'bytes':>12}{'bits/byte':>11}{columns}"
    for row in study.rows:
        yield (
            f"{row.precision:<26}{row.model:<10.10}{row.bytes:>12,}{row.bits_per_byte:>11.4f}{_share(row.maths):>9}"
            f"{_share(row.tokens):>10}{_share(row.choices):>11}{_share(row.language):>10}  {_ratio(row.ratio)}"
        )
    if study.missing:
        yield f"not measured, for sterna quantize does not have them: {', '.join(study.missing)}"
    yield "what this does not show: what other models lose, above all those of other sizes"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ratio(ratio: Ratio) -> str:
    if ratio.value is None:
        return f"none: {ratio.reason}"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def plot(study: Study, path: Path) -> Path:
    """Retention and bits per byte of each row; returns the path. Raises UnsupportedError without matplotlib."""
    places, several = range(len(study.rows)), len(study.counted) > 1
    names = [f"{row.model} as {row.precision}" if several and not row.trained else row.precision for row in study.rows]
    figure, axes = new_figure(1, 2, 13, 1.5 + 0.3 * len(places))
    kept, text = axes[0]
    for kind, color in (("maths", "C0"), ("language", "C1")):
        values = [getattr(row, kind) for row in study.rows]
        points = [(value, place) for place, value in zip(places, values, strict=True) if value is not None]
        kept.plot(*zip(*points, strict=True) if points else ([], []), "o", color=color, label=kind)
    kept.axvline(1.0, color="0.7", linewidth=0.8)
    kept.set(xlabel="retention", title="what is left of the lead over chance")
    kept.set_yticks(places, [f"{name}, {row.bytes / 1e6:.3g} MB" for name, row in zip(names, study.rows, strict=True)])
    kept.legend()
    text.plot([row.bits_per_byte for row in study.rows], places, "o", color="C2")
    text.set(xscale="log", xlabel="bits per byte", title="unseen text")
    text.xaxis.set_major_formatter("{x:g}")
    text.xaxis.set_minor_formatter("{x:g}")
    text.set_yticks(places, [])
    for axis in (kept, text):
        axis.invert_yaxis()
        axis.grid(axis="y", color="0.9")
    return save(figure, path)
