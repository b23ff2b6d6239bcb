"""Completion of commands and of what follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter, WordCompleter
from prompt_toolkit.document import Document

from sterna.chat.commands import COMMANDS, is_command
from sterna.chat.settings import SETTINGS


class CommandCompleter(Completer):
    """Completes names of commands, files, settings, and models; `models` gives the names of those."""

    def __init__(self, models: Callable[[], list[str]]) -> None:
        files = PathCompleter(expanduser=True)
        self._arguments: dict[str, Completer] = {
            "load": files,
            "save": files,
            "model": WordCompleter(models, sentence=True),
            "set": WordCompleter(list(SETTINGS), sentence=True),
        }

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not is_command(text):
            return
        name, space, argument = text[1:].partition(" ")
        if space:
            if name in self._arguments:
                rest = Document(argument.lstrip())
                yield from self._arguments[name].get_completions(rest, complete_event)
            return
        for known, command in COMMANDS.items():
            if known.startswith(name):
                yield Completion(f"/{known}", -len(text), display_meta=command.help)
