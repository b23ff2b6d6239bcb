"""The `sterna` command: one file a verb; this one ties them together and turns errors into a sentence and a status."""

from __future__ import annotations

import os
import sys

import typer

from sterna.cli import bench, info, run, train
from sterna.cli import eval as eval_verb
from sterna.errors import ArgumentError, SternaError

app = typer.Typer(
    help="Train, convert, pack and run ternary (BitNet b1.58) language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("info")(info.info)
app.command("bench")(bench.bench)
app.command("eval")(eval_verb.evaluate)
app.command("train")(train.train)


def main() -> None:
    """Runs the command line; exits 0, 1 for an error, 2 for bad usage, 130 after Ctrl-C."""
    try:
        app(standalone_mode=True)
    except BrokenPipeError:
        # Whoever read our output has left; nothing is wrong, and Python must not complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)
    except ArgumentError as error:
        fail(str(error), status=2)
    except SternaError as error:
        fail(str(error))
    except MemoryError:
        fail("There is not enough memory for this model or context.")
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename}." if error.filename else f"{error}.")


def fail(sentence: str, status: int = 1) -> None:
    """Prints one sentence on stderr and exits."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(status)
