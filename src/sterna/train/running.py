"""What surrounds the loop of every run: who is told of it, and what its errors say."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sterna.errors import SternaError
from sterna.files.atomic import atomic_write
from sterna.train.corpus import Report
from sterna.train.distributed import first_before_others, joined, process_rank
from sterna.train.lock import locked
from sterna.train.loop import Position
from sterna.train.watch.lines import line_of
from sterna.train.watch.records import Journal, Record, Sink


def to_stderr(line: str) -> None:
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)


def reproducible(device: torch.device, seed: int) -> None:
    """Makes runs on a CPU the same to the bit: otherwise the embedding's gradient is summed in no fixed order, and
    compiled runs cannot be reproduced."""
    torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


@contextmanager
def alone(output: Path, device: torch.device) -> Iterator[None]:
    """Joins the processes of a run on `device`, and locks other runs out of its output folder, inside the block.

    A run looks for its state inside the block: one that was found before could be older than what another run has
    written when it ends. Raises as `locked` does.
    """
    with joined(device), ExitStack() as lock:
        with first_before_others():
            if process_rank() == 0:
                lock.enter_context(locked(output))
        yield


@contextmanager
def told(position: Position, report: Report) -> Iterator[None]:
    """Tells where a run stopped that a signal or a disk ended."""
    try:
        yield
    except (KeyboardInterrupt, OSError):
        report(f"Stopped at step {position.step}; the same command {position.goes_on()}.")
        raise


@contextmanager
def sinks(output: Path, step: int, tensorboard: bool, report: Report) -> Iterator[list[Sink]]:
    """Those who receive the records of a run that goes on from `step`: those of the first process are enough."""
    if process_rank() > 0:
        yield []
        return

    def tell(record: Record) -> None:
        if (line := line_of(record)) is not None:
            report(line)

    receivers: list[Sink] = [tell, Journal(output, step)]
    if not tensorboard:
        yield receivers
        return
    from sterna.train.watch.tensorboard import TensorBoard

    with TensorBoard(output, step) as board:
        yield [*receivers, board]


def write_result(output: Path, result: Any) -> None:
    """Writes a dataclass as `result.json` into the output folder; of several processes the first writes."""
    if process_rank() == 0:
        with atomic_write(output / "result.json") as file:
            file.write(json.dumps(asdict(result), default=str, indent=1).encode())


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """Turns errors for lack of memory into one that says what to do."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # PyTorch's CPU allocator raises a plain RuntimeError.
        if not isinstance(error, MemoryError) and not re.search("(allocate|enough|out of) memory", str(error)):
            raise
        raise SternaError(advice) from error
