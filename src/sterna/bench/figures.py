"""Figures: drawn by matplotlib, which is loaded only for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, UnsupportedError
from sterna.files.atomic import atomic_write

FORMATS = ("png", "svg", "pdf")


def check_plots(path: Path | None = None) -> None:
    """For callers who have much to do before they draw, into `path` if it is given. Raises UnsupportedError without
    matplotlib, ArgumentError where the name of the file ends in no format or its folder is not there."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("Plots need matplotlib: pip install 'sterna[plots]'.") from error
    if path is not None and _format(path) not in FORMATS:
        raise ArgumentError(f"A plot is written as {', '.join(FORMATS)}: {path} ends in none of them.")
    if path is not None and not path.parent.is_dir():
        raise ArgumentError(f"The folder {path.parent}, where a plot is to be written, is not there.")


def new_figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure of so many inches and its axes, an array [rows, columns]. Raises UnsupportedError without matplotlib."""
    check_plots()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def svg(figure: Any) -> str:
    """A figure as an element of HTML. The same figure gives the same text."""
    text = io.StringIO()
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "sterna", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def save(figure: Any, path: Path) -> Path:
    """Writes a figure in the format that its name says, PNG without one; returns the path."""
    with atomic_write(path) as file:
        figure.savefig(file, format=_format(path), dpi=120)
    return path


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower() or FORMATS[0]
