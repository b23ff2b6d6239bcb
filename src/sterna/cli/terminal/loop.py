"""The chat itself: reads messages, shows answers, runs commands, until somebody ends it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from sterna.chat.answer import Answer
from sterna.chat.commands import Leave, is_command, run_command
from sterna.chat.session import Session
from sterna.chat.stats import count_turns, cut_notice, speeds, use
from sterna.cli.interrupts import Terminated
from sterna.cli.streams import OutputError, file_sentence, say
from sterna.cli.terminal import messages, plain
from sterna.cli.terminal.keyboard import no_echo, on_ctrl_c
from sterna.cli.visible import visible
from sterna.errors import SternaError


def chat(session: Session, stats: bool, models: Callable[[], list[str]]) -> None:
    """Runs a chat to its end. `stats`: say what each answer cost; `models`: names of models for completion.

    Where stdin is no terminal each of its lines is a message, none is a command, and the first error ends the chat:
    raises what `Session.ask` raises.
    """
    show = _display()
    if sys.stdin is None or not sys.stdin.isatty():
        for message in messages.piped():
            _answer(session, message, show, stats)
        return
    read = _reader(session, models)
    print_line(f"{session.model}, context {session.context:,} tokens. /help lists commands, Ctrl-D ends.")
    while True:
        try:
            with on_ctrl_c(_interrupt):
                message = read()
                if is_command(message):
                    print_line(run_command(session, message))
                elif message.strip():
                    _answer(session, message, show, stats, keyboard=True)
        except (EOFError, Leave):
            return
        except Terminated:
            raise
        except KeyboardInterrupt:
            print_line("Ctrl-D or /quit ends the chat.")
        except OutputError:
            raise
        except SternaError as error:
            print_line(f"Error: {error}")
        except OSError as error:
            print_line(f"Error: {file_sentence(error)}")
        except MemoryError:
            print_line("Error: There is not enough memory for that.")


def print_line(text: str) -> None:
    """Says something beside the answers: on stderr, so that a file of the output has the answers alone. A terminal gets
    whole words in each line."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(_wrapped(line, width) for line in text.split("\n"))
    say(text)


def _wrapped(line: str, width: int) -> str:
    """The line in lines of at most `width` columns; words, such as paths, stay whole even where they are longer."""
    return textwrap.fill(line, width, replace_whitespace=False, break_long_words=False, break_on_hyphens=False)


def _answer(
    session: Session, message: str, show: Callable[[Answer], None], stats: bool, keyboard: bool = False
) -> None:
    """Shows the answer to a message and adds it to the conversation. With a `keyboard` Ctrl-C stops the answer."""
    answer, left_out = session.ask(message)
    quiet: AbstractContextManager[None] = no_echo() if keyboard else nullcontext()
    try:
        if left_out:
            print_line(f"The context is full: the oldest {count_turns(left_out)} will not be sent any more.")
        with quiet, on_ctrl_c(answer.stop) if keyboard else nullcontext():
            show(answer)
    except BaseException:
        session.withdraw()
        raise
    kept = session.keep(answer)
    if answer.stopped:
        what = "/undo takes the turn back" if kept else "the message is taken back"
        print_line(f"(stopped; {what})")
    elif cut := cut_notice(session):
        print_line(cut)
    if stats and session.last is not None:
        print_line(f"({speeds(session.last)}; {use(session)})")
    if keyboard:
        print_line("")


def _reader(session: Session, models: Callable[[], list[str]]) -> Callable[[], str]:
    """What reads a message: an editor, or plain lines where the terminal cannot do that."""
    if not _can_draw():
        sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        return messages.typed
    from sterna.cli.terminal.editor import Editor

    return Editor(lambda: f" {visible(session.model)}: {use(session)} ", models).read


def _display() -> Callable[[Answer], None]:
    """What shows an answer: as Markdown, or as plain text where stdout cannot do that."""
    if not _can_draw():
        return plain.show
    from rich.console import Console

    from sterna.cli.terminal import markdown

    return partial(markdown.show, Console(highlight=False))


def _can_draw() -> bool:
    """Whether stdout is a terminal that knows escape sequences."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def _interrupt() -> None:
    raise KeyboardInterrupt
