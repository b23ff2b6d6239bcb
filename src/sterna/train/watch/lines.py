"""Records as lines for people."""

from __future__ import annotations

from sterna.train.watch.records import Record


def line_of(record: Record) -> str | None:
    """A line that tells a record; None for one that is only of use in files and plots."""
    step = record["step"]
    match record["kind"]:
        case "step":
            return f"step {step} {progress(record)}"
        case "stage":
            return f"step {step} ends a stage; the next is: {record['stage']}"
        case "valid":
            measured = (f"{value:.4f} {name.replace('_', ' ')}" for name, value in _measured(record))
            return f"step {step} valid {', '.join(measured)}"
        case "weights" if record["matrices"]:
            return f"step {step} weights {_weights(record)}"
        case "sample":
            return f"step {step} sample {record['prompt'] + record['text']!r}"
        case "skip":
            return f"step {step} is skipped: {record['reason']}"
    return None


def progress(record: Record) -> str:
    """What a `step` record says about the state of a run."""
    loss = "of no step" if record["loss"] is None else f"{record['loss']:.4f}"
    norm = "-" if record["norm"] is None else f"{record['norm']:.2f}"
    terms = "".join(f" {name} {value:.4f}" for name, value in record.get("terms", {}).items())
    return (
        f"loss {loss}{terms} norm {norm} lr {record['factor']:.3f} tokens/s {record['tokens_per_second']:.0f} "
        f"({record['peak_share']:.0%} of peak) {duration(record['seconds_left'])} left"
    )


def duration(seconds: float) -> str:
    """A time in the two largest units that it has, such as `3 h 20 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _measured(record: Record) -> list[tuple[str, float]]:
    return [(name, value) for name, value in record.items() if name not in ("kind", "step")]


def _weights(record: Record) -> str:
    matrices = record["matrices"].values()
    zeros = [matrix["zero"] for matrix in matrices]
    text = f"zeros {min(zeros):.1%} to {max(zeros):.1%}"
    flips = [matrix["flips"] for matrix in matrices if matrix["flips"] is not None]
    return text + (f", flips {min(flips):.2%} to {max(flips):.2%} in {record['over']} steps" if flips else "")
