"""The line in which messages are typed: editing keys, several lines, history, completion, and the use of the context
below it."""

from __future__ import annotations

import os
from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output.color_depth import ColorDepth

from sterna.chat.commands import is_command
from sterna.cli.terminal.completion import CommandCompleter
from sterna.cli.terminal.history import History, history_path
from sterna.cli.terminal.messages import MORE, PROMPT, is_open, unquoted


class Editor:
    """Reads messages from a terminal. `status`: what the line below the message says; `models`: names to complete."""

    def __init__(self, status: Callable[[], str], models: Callable[[], list[str]]) -> None:
        self._prompt: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=lambda width, number, wraps: " " * width if wraps else MORE,
            key_bindings=_keys(),
            history=History(history_path()),
            completer=CommandCompleter(models),
            complete_while_typing=Condition(lambda: is_command(get_app().current_buffer.text)),
            bottom_toolbar=status,
            color_depth=ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None,
            enable_suspend=True,
        )

    def read(self) -> str:
        """A message. Raises EOFError at Ctrl-D on an empty line, KeyboardInterrupt at Ctrl-C."""
        return unquoted(self._prompt.prompt())


def _keys() -> KeyBindings:
    """Enter sends, but for a message that begins with quotes and has no others yet; Alt-Enter and Ctrl-J begin a new
    line. Text that is pasted keeps its lines."""
    keys = KeyBindings()

    @Condition
    def is_whole() -> bool:
        return not is_open(get_app().current_buffer.text)

    @keys.add("enter", filter=is_whole)
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline()

    return keys
