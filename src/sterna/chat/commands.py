"""The commands of a chat, such as `/undo`. Each is a function of the session and of what was typed after its name; it
returns what there is to say. A new command is a function and a row of `COMMANDS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sterna.chat import saved, settings
from sterna.chat.session import Session
from sterna.chat.stats import count_turns, speeds, use
from sterna.errors import ArgumentError, suggestion
from sterna.files.text import whole_characters


class Leave(Exception):
    """The user ends the chat."""


@dataclass(frozen=True)
class Command:
    """What follows `/name` in its usage, what it does, and the function that does it."""

    arguments: str
    help: str
    run: Callable[[Session, str], str]


def is_command(line: str) -> bool:
    """Whether a message is a command. A message that begins with a space is none."""
    return line.startswith("/")


def run_command(session: Session, line: str) -> str:
    """Runs a command and returns what there is to say about it. Raises `Leave` at the end of the chat, `ArgumentError`
    for an unknown command, and what commands raise."""
    name, _, argument = line[1:].partition(" ")
    name = ALIASES.get(name, name)
    if name not in COMMANDS:
        otherwise = "/help lists those there are, and a message that begins with a space is none"
        raise ArgumentError(f"There is no command '/{name}'{suggestion(name, COMMANDS, otherwise)}")
    return COMMANDS[name].run(session, argument.strip())


def _system(session: Session, text: str) -> str:
    conversation = session.conversation
    if not text:
        return conversation.system or "There is no system prompt."
    conversation.system = whole_characters(text.strip('"')) or None
    session.recount()
    return "The system prompt is set." if conversation.system else "There is no system prompt any more."


def _model(session: Session, name: str) -> str:
    if name:
        session.change_model(name)
    description = f"{session.model}, {session.llm.threads} threads, context {session.context:,}"
    return "\n".join(filter(None, (description, session.template_notice if name else None)))


def _reset(session: Session, _: str) -> str:
    session.conversation.reset()
    session.recount()
    return "The conversation begins anew" + (
        "; the system prompt stays." if session.conversation.system is not None else "."
    )


def _undo(session: Session, _: str) -> str:
    text = session.conversation.undo()
    if text is None:
        return "There is nothing to take back."
    session.recount()
    start = " ".join(text.split())
    return f"Taken back: {start if len(start) <= 60 else f'{start[:57]}...'}"


def _thoughts(session: Session, _: str) -> str:
    messages = session.conversation.messages
    thoughts = messages[-1].get("reasoning_content", "").strip() if messages else ""
    return thoughts or "The last answer has no thoughts."


def _save(session: Session, name: str) -> str:
    path = _path(name, "save")
    saved.save(session.conversation, path, session.model)
    return f"Saved to {path}."


def _load(session: Session, name: str) -> str:
    path = _path(name, "load")
    session.conversation = saved.load(path)
    session.recount()
    return f"Loaded {path}: {count_turns(session.conversation.turns)}."


def _path(name: str, command: str) -> Path:
    if not name:
        raise ArgumentError(f"/{command} needs the name of a file.")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ArgumentError(f"There is no home folder for '{name}'.") from None


def _stats(session: Session, _: str) -> str:
    last = [] if session.last is None else [speeds(session.last)]
    return "\n".join([*last, use(session)])


def _set(session: Session, argument: str) -> str:
    name, _, value = argument.partition(" ")
    if not name:
        return settings.shown(session.params)
    if not value.strip():
        raise ArgumentError(f"/set {name} needs a value; /set alone shows all.")
    session.params = settings.changed(session.params, name, value.strip())
    return f"{name} is {value.strip()}."


def _help(_: Session, __: str) -> str:
    rows = [(f"/{name} {command.arguments}".rstrip(), command.help) for name, command in COMMANDS.items()]
    rows += [('"""', "begins a message of several lines, and ends it"), ("Ctrl-C", "stops the answer")]
    return "\n".join(f"{usage:21}{help}" for usage, help in rows)


def _quit(_: Session, __: str) -> str:
    raise Leave


COMMANDS = {
    "system": Command("[TEXT]", 'show or replace the system prompt; "" removes it', _system),
    "model": Command("[NAME]", "show the model, or go on with another", _model),
    "set": Command("[NAME VALUE]", "show or change how tokens are chosen: /set temp 0", _set),
    "undo": Command("", "take back the last message and its answer", _undo),
    "reset": Command("", "begin a new conversation; the system prompt stays", _reset),
    "thoughts": Command("", "show what the model thought before its last answer", _thoughts),
    "save": Command("FILE", "write the conversation as JSON", _save),
    "load": Command("FILE", "go on with a saved conversation", _load),
    "stats": Command("", "speeds of the last answer, and use of the context", _stats),
    "help": Command("", "this list", _help),
    "quit": Command("", "end the chat, as Ctrl-D does", _quit),
}
ALIASES = {"exit": "quit", "bye": "quit", "?": "help"}
