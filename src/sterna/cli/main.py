"""The `sterna` command: registers its verbs, and turns errors into one sentence and an exit status."""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from sterna import __version__
from sterna.cli import batch, bench, chat, convert, finetune, info, plan, pull, quantize, rm, run, serve, study, train
from sterna.cli import eval as eval_verb
from sterna.cli import list as list_verb
from sterna.cli.interrupts import as_exceptions
from sterna.cli.options import flag_labels
from sterna.cli.streams import OutputError, file_sentence, give_up_output, prepare_streams, say
from sterna.cli.usage import ModelVerb, Verbs, is_usage_error, usage_sentence
from sterna.errors import ArgumentError, OptionError, SternaError

FAILURE, BAD_USAGE, READER_LEFT = 1, 2, 141
"""Exit statuses, the same for every verb (docs/cli.md); those of signals: `interrupts.py`."""

app = typer.Typer(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help without boxes: readable in 80 columns, and in a file
)
app.command("run", cls=ModelVerb)(run.run)
app.command("chat", cls=ModelVerb)(chat.chat)
app.command("info", cls=ModelVerb)(info.info)
app.command("pull")(pull.pull)
app.command("list")(list_verb.list_models)
app.command("rm")(rm.remove)
app.command("bench", cls=ModelVerb)(bench.bench)
app.command("plan", cls=ModelVerb)(plan.plan)
app.command("convert")(convert.convert)
app.command("eval", cls=ModelVerb)(eval_verb.evaluate)
app.command("train")(train.train)
app.command("finetune")(finetune.finetune)
app.command("quantize")(quantize.quantize)
app.command("study")(study.study)
app.command("batch", cls=ModelVerb)(batch.batch)
app.command("serve", cls=ModelVerb)(serve.serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sterna {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _sterna(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("-V", "--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Train, convert, pack and run ternary (BitNet b1.58) language models."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(BAD_USAGE)


def main() -> None:
    """Runs the command line, and exits with a status of docs/cli.md."""
    prepare_streams()
    warnings.showwarning = _show_warning
    try:
        with as_exceptions():
            status = app(prog_name="sterna", standalone_mode=False)
            sys.stdout.flush()
    except OutputError as error:
        give_up_output()
        status = READER_LEFT if error.reader_left else fail(str(error))
    except OptionError as error:
        fail(f"{flag_labels().get(error.option, error.option)} {error.predicate}", BAD_USAGE)
    except ArgumentError as error:
        fail(str(error), BAD_USAGE)
    except SternaError as error:
        fail(str(error))
    except MemoryError:
        fail("There is not enough memory for this model or context.")
    except OSError as error:
        fail(file_sentence(error))
    except Exception as error:
        if is_usage_error(error):
            fail(usage_sentence(error), BAD_USAGE)
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        fail(f"Something that should not happen did: {what}. Please report it.")
    sys.exit(status)


def fail(sentence: str, status: int = FAILURE) -> NoReturn:
    """Prints one sentence on stderr and exits."""
    say(f"Error: {sentence}")
    sys.exit(status)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    say(f"Warning: {message}")
