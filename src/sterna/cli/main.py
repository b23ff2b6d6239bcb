"""The `sterna` command: registers its verbs, and turns errors into one sentence and an exit status."""

from __future__ import annotations

import io
import sys
import traceback
from pathlib import Path

import typer

from sterna.cli import bench, convert, info, pull, rm, run, train
from sterna.cli import eval as eval_verb
from sterna.cli import list as list_verb
from sterna.cli.interrupts import as_exceptions
from sterna.errors import ArgumentError, SternaError

app = typer.Typer(
    help="Train, convert, pack and run ternary (BitNet b1.58) language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("info")(info.info)
app.command("pull")(pull.pull)
app.command("list")(list_verb.list_models)
app.command("rm")(rm.remove)
app.command("bench")(bench.bench)
app.command("convert")(convert.convert)
app.command("eval")(eval_verb.evaluate)
app.command("train")(train.train)


def main() -> None:
    """Runs the command line; exits 0, 1 for an error, 2 for bad usage, 130 after Ctrl-C (128 + number of a signal)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal lacks is no error
    try:
        with as_exceptions():
            app()
    except ArgumentError as error:
        fail(str(error), status=2)
    except SternaError as error:
        fail(str(error))
    except MemoryError:
        fail("There is not enough memory for this model or context.")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}." if error.filename else f"{error}.")
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        fail(f"Something that should not happen did: {what}. Please report it.")


def fail(sentence: str, status: int = 1) -> None:
    """Prints one sentence on stderr and exits."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(status)
