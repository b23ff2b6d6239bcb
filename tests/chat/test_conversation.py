"""Conversations: turns, what fits into the context, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.chat.conversation import Conversation, Message
from sterna.chat.saved import load, save
from sterna.errors import ArgumentError, ContextLengthError, FormatError, NotFoundError


def encode(messages: list[Message]) -> list[int]:
    """A token for each character."""
    return [1] * sum(len(message["content"]) for message in messages)


def conversation(turns: int, size: int = 10, system: str | None = None) -> Conversation:
    made = Conversation(system)
    for _ in range(turns):
        made.ask("q" * size)
        made.answer("a" * size)
    return made


def test_undo_takes_back_a_message_and_its_answer() -> None:
    made = Conversation("Be kind.")
    made.ask("one")
    made.answer("eins", "They want German.")
    made.ask("two")
    assert made.undo() == "two" and made.turns == 1
    assert made.undo() == "one" and made.messages == [] and made.undo() is None
    assert made.system == "Be kind."


def test_reset_keeps_the_system_prompt() -> None:
    made = conversation(3, system="Be kind.")
    made.reset()
    assert made.sent() == [{"role": "system", "content": "Be kind."}]


def test_the_oldest_turns_are_left_out_and_the_system_prompt_stays() -> None:
    made = conversation(5, system="s" * 10)
    made.ask("q" * 10)
    ids, left_out = made.fit(encode, 120, 20)
    assert (len(ids), left_out) == (60, 3) and made.sent()[0]["role"] == "system"
    assert made.turns == 6 and made.unsent_turns == 3 and len(made.everything()) == 12
    made.answer("a" * 10)
    made.ask("q" * 10)
    assert made.fit(encode, 120, 20)[1] == 0, "half the context was freed, so that the beginning stays for some turns"


def test_everything_is_sent_while_it_fits() -> None:
    made = conversation(4)
    made.ask("q" * 10)
    assert made.fit(encode, 110, 20) == ([1] * 90, 0)


def test_a_message_alone_may_take_the_room_of_the_answer_but_not_the_whole_context() -> None:
    made = conversation(2)
    made.ask("q" * 99)
    ids, left_out = made.fit(encode, 100, 25)
    assert len(ids) == 99 and left_out == 2
    made.undo()
    made.ask("q" * 100)
    with pytest.raises(ContextLengthError, match="100 tokens, but the context of 100"):
        made.fit(encode, 100, 25)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12), st.integers(1, 60), st.integers(0, 30))
def test_what_is_sent_is_always_a_tail_that_begins_with_the_user(
    sizes: list[tuple[int, int]], last: int, system: int
) -> None:
    made = Conversation("s" * system)
    for question, answer in sizes:
        made.ask("q" * question)
        made.answer("a" * answer)
    made.ask("q" * last)
    ids, left_out = made.fit(encode, 100, 25)
    sent = [message for message in made.sent() if message["role"] != "system"]
    assert len(ids) < 100 and ids == encode(made.sent())
    assert sent == made.messages[-len(sent) :] and sent[0]["role"] == "user" and sent[-1]["content"] == "q" * last
    assert left_out == made.turns - sum(message["role"] == "user" for message in sent)
    assert len(ids) <= 75 or len(sent) == 1


def test_halves_of_characters_do_not_reach_the_model() -> None:
    made = Conversation()
    made.ask("a\udce4b \ud83e\udd80")
    assert made.messages[0]["content"] == "a\ufffdb 🦀"


def test_a_saved_conversation_is_loaded_as_it_was(tmp_path: Path) -> None:
    made = conversation(2, system="Be kind.")
    made.ask("Grüße 🦀\n")
    made.answer("x", "They greet.")
    save(made, tmp_path / "chat.json", "sterna-tern")
    assert load(tmp_path / "chat.json") == made
    assert json.loads((tmp_path / "chat.json").read_text())["model"] == "sterna-tern"
    made.undo()
    save(made, tmp_path / "chat.json", "sterna-tern")
    assert load(tmp_path / "chat.json").turns == 2, "a saved conversation may be replaced"


def test_saving_replaces_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArgumentError, match="no saved conversation; choose another name"):
        save(conversation(1), tmp_path / "notes.txt", "m")
    with pytest.raises(ArgumentError, match="choose another name"):
        save(conversation(1), tmp_path, "m")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(ArgumentError, match="nothing to save"):
        save(Conversation(), tmp_path / "empty.json", "m")


def test_a_bare_list_of_messages_is_a_conversation(tmp_path: Path) -> None:
    messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi", "name": "Ann"}]
    (tmp_path / "list.json").write_text(json.dumps(messages))
    assert load(tmp_path / "list.json") == Conversation("Be kind.", [{"role": "user", "content": "Hi"}])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("\x00", "no JSON"),
        ("{}", "no list of messages"),
        ("[]", "no list of messages"),
        ('{"messages": {"role": "user"}}', "no list of messages"),
        ('["Hi"]', "Message 1"),
        ('[{"role": "user"}]', "Message 1"),
        ('[{"role": "user", "content": 1}]', "Message 1"),
        ('[{"role": ["user"], "content": "x"}]', "another role"),
        ('[{"role": "tool", "content": "x"}]', "another role"),
        ('[{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]', "Message 2"),
    ],
)
def test_a_file_that_is_no_conversation_is_refused_in_a_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(FormatError, match=words) as raised:
        load(tmp_path / "x.json")
    assert "x.json" in str(raised.value) and str(raised.value).endswith(".")


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing", Path("/dev/zero")):
        with pytest.raises(NotFoundError):
            load(path)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "content", "messages"]), inner),
    )
)
def test_any_json_is_loaded_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(value))
    try:
        assert load(path).everything()
    except FormatError:
        pass
