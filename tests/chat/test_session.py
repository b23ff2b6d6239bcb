"""A session: answers, Ctrl-C, commands and settings."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from sterna.chat.answer import Answer, Reading
from sterna.chat.commands import COMMANDS, Leave, is_command, run_command
from sterna.chat.session import Session
from sterna.chat.stats import cut_notice, speeds, use
from sterna.engine.llm import LLM
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, ContextLengthError, NotFoundError, OptionError, UnsupportedError
from sterna.server.events import Text

from .scripted import ScriptedLLM


def session(*answers: list[Any], **more: Any) -> Session:
    llm: Any = ScriptedLLM([*answers], **more)
    return Session(lambda name: llm, None, SamplingParams())


def say(chat: Session, text: str) -> Answer:
    """A whole turn."""
    answer, _ = chat.ask(text)
    list(answer)
    chat.keep(answer)
    return answer


def test_an_answer_is_kept_and_sent_with_the_next_message() -> None:
    chat = session(["Good ", "day."], ["Yes."])
    assert say(chat, "Hello there").text == "Good day."
    say(chat, "Really?")
    assert [message["content"] for message in chat.conversation.messages] == [
        "Hello there",
        "Good day.",
        "Really?",
        "Yes.",
    ]
    assert chat.llm.prompts == [4, 9]  # type: ignore[attr-defined]


def test_white_space_before_an_answer_is_left_out() -> None:
    answer, _ = session([" \n", " Good", " day.\n"]).ask("Hi")
    assert [event for event in answer if isinstance(event, Text)] and answer.text == "Good day.\n"


def test_thoughts_are_kept_beside_the_answer() -> None:
    chat = session(["<think>\nThey want ", "a number.\n</think>\n\n42"], ["Yes.</think>No."])
    answer = say(chat, "How many?")
    assert (answer.thoughts, answer.text) == ("They want a number.", "42") and answer.thinking_seconds >= 0
    assert run_command(chat, "/thoughts") == "They want a number."
    chat.llm.tokenizer.end = "<think>\n"  # type: ignore[attr-defined]
    answer = say(chat, "Really?")
    assert (answer.thoughts, answer.text) == ("Yes.", "No.")


def test_a_prompt_that_takes_long_is_reported() -> None:
    answer, _ = session([None]).ask("Hi")
    events = iter(answer)
    assert next(events) == Reading(0.0, 3)
    answer.stop()
    assert list(events) == []


def test_a_stopped_answer_keeps_what_came() -> None:
    chat = session(["Good ", "day", None])
    answer, _ = chat.ask("Hi")
    events = iter(answer)
    assert next(events) == Text("Good day")
    threading.Timer(0.01, answer.stop).start()
    list(events)
    assert chat.keep(answer) and chat.conversation.messages[-1]["content"] == "Good day"
    assert chat.last is not None and chat.last.stop_reason == "interrupted"
    assert chat.llm.cancelled.is_set()  # type: ignore[attr-defined]


def test_a_message_whose_answer_was_stopped_before_it_began_is_taken_back() -> None:
    chat = session([None])
    answer, _ = chat.ask("Hi")
    answer.stop()
    list(answer)
    assert not chat.keep(answer) and chat.conversation.messages == []


def test_an_error_of_the_engine_is_raised() -> None:
    answer, _ = session(["Go", UnsupportedError("The model is closed.")]).ask("Hi")
    with pytest.raises(UnsupportedError):
        list(answer)


def test_full_contexts_are_told() -> None:
    chat = session(["one"], ["two"], ["three"], context_length=40)
    say(chat, "word " * 20)
    answer, left_out = chat.ask("word " * 12)
    assert left_out == 1 and chat.llm.prompts[-1] == 14  # type: ignore[attr-defined]
    list(answer)
    chat.keep(answer)
    assert use(chat) == "context 15 of 40 tokens (38%); 1 turn not sent"
    with pytest.raises(ContextLengthError):
        chat.ask("word " * 60)
    assert chat.conversation.turns == 2


def test_a_cut_answer_is_told() -> None:
    chat = session(["one ", "two"], ["one"], stop_reason="length")
    chat.params = SamplingParams(max_tokens=2)
    say(chat, "Hi")
    assert cut_notice(chat) == "(cut at 2 tokens; /set max-tokens changes that)"
    say(chat, "Hi")
    assert cut_notice(chat) == "(cut: the context of 100 tokens is full)"


def test_the_embedded_model_gets_a_named_fallback_and_ends_its_turn() -> None:
    chat = Session(lambda name: LLM(), None, SamplingParams(max_tokens=20, seed=1))
    assert chat.template_notice is not None and "'plain'" in chat.template_notice
    answer, _ = chat.ask("Hello")
    assert "\nUser:" in answer._generation.params.stop
    list(answer)
    chat.keep(answer)
    for text in ("And then? " * 20, "Why?"):
        say(chat, text)
    assert (
        chat.last is not None
        and chat.last.cached_tokens >= 64
        and f"{chat.last.cached_tokens} of them cached" in speeds(chat.last)
    )
    assert session().template_notice is None


def test_every_command_has_help_of_one_line_in_80_columns() -> None:
    lines = run_command(session(), "/help").split("\n")
    assert all(len(line) <= 80 for line in lines)
    assert all(any(line.startswith(f"/{name}") for line in lines) for name in COMMANDS)


def test_commands_change_the_session(tmp_path: Path) -> None:
    chat = session(["one"], ["two"])
    assert run_command(chat, "/system") == "There is no system prompt."
    run_command(chat, "/system  Be kind to all.")
    assert run_command(chat, "/system") == chat.conversation.system == "Be kind to all."
    assert chat.context_used == 5
    assert run_command(chat, "/undo") == "There is nothing to take back."
    say(chat, "Hi\nyou")
    say(chat, "Again")
    assert run_command(chat, "/undo") == "Taken back: Again" and chat.conversation.turns == 1
    assert run_command(chat, f"/save {tmp_path}/chat.json") == f"Saved to {tmp_path}/chat.json."
    assert "stays" in run_command(chat, "/reset") and chat.conversation.messages == []
    assert run_command(chat, f"/load {tmp_path}/chat.json").endswith(": 1 turn.")
    assert chat.conversation.system == "Be kind to all." and chat.conversation.turns == 1
    run_command(chat, '/system ""')
    assert chat.conversation.system is None
    assert "context 5 of 100" in run_command(chat, "/stats")
    assert run_command(chat, "/thoughts") == "The last answer has no thoughts."
    with pytest.raises(Leave):
        run_command(chat, "/bye")


def test_settings_have_the_rules_of_their_flags() -> None:
    chat = session()
    run_command(chat, "/set temp 0.5")
    run_command(chat, "/set max-tokens -1")
    assert chat.params.temperature == 0.5 and chat.params.max_tokens is None
    shown = dict(line.split() for line in run_command(chat, "/set").split("\n"))
    assert shown["temp"] == "0.5" and shown["max-tokens"] == "-1" and shown["top-k"] == "0"
    with pytest.raises(OptionError, match="temp is a number from 0, not 'hot'"):
        run_command(chat, "/set temp hot")
    with pytest.raises(ArgumentError, match="no setting 'tmp'; did you mean 'temp'"):
        run_command(chat, "/set tmp 1")
    with pytest.raises(ArgumentError, match="needs a value"):
        run_command(chat, "/set temp")


def test_an_unknown_command_is_a_sentence_and_a_space_makes_it_a_message() -> None:
    with pytest.raises(ArgumentError, match="There is no command '/unde'; did you mean 'undo'"):
        run_command(session(), "/unde")
    with pytest.raises(ArgumentError, match="/save needs the name of a file"):
        run_command(session(), "/save")
    assert is_command("/etc/passwd holds what?") and not is_command(" /etc/passwd holds what?")


def test_a_model_that_cannot_be_loaded_leaves_the_session_its_own() -> None:
    loaded: list[str | None] = []

    def load(name: str | None) -> Any:
        loaded.append(name)
        if name == "sterna-tern" and len(loaded) == 2:
            raise UnsupportedError("No memory.")
        return ScriptedLLM([["one"]], name=str(name))

    chat = Session(load, None, SamplingParams())
    with pytest.raises(NotFoundError):
        run_command(chat, "/model nowhere")
    assert loaded == [None] and not chat.llm.closed  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedError):
        run_command(chat, "/model sterna-tern")
    assert loaded == [None, "sterna-tern", None] and say(chat, "Hi").text == "one"
    before: Any = chat.llm
    assert run_command(chat, "/model sterna-tern").startswith("sterna-tern, 1 threads, context 100")
    assert before.closed and chat.conversation.turns == 1
