"""Figures: drawn by matplotlib, which is loaded only for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sterna.errors import UnsupportedError
from sterna.files.atomic import atomic_write


def check_plots() -> None:
    """Raises UnsupportedError without matplotlib; for callers who have much to do before they draw."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UnsupportedError("Plots need matplotlib: pip install 'sterna[plots]'.") from error


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
        figure.savefig(file, format=path.suffix.removeprefix(".").lower() or "png", dpi=120)
    return path
