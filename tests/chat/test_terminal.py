"""`sterna chat` in a terminal of 80 columns, and in pipes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from sterna.cli.terminal.completion import CommandCompleter
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.gguf import read_gguf, write_gguf

from ..command import shell, sterna
from ..helpers import EMBEDDED_CONTEXT
from .terminal import Terminal

COLOUR = re.compile(rb"\x1b\[[\d;]*?\b(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[\d;]*m")


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """The embedded model with a context so long that no answer without an end fills it before a test is over."""
    embedded = read_gguf(EMBEDDED_MODEL)
    metadata = {**embedded.metadata, "bitnet-b1.58.context_length": 1 << 16}
    write_gguf(tmp_path / "endless.gguf", metadata, embedded.tensors.values())
    return str(tmp_path / "endless.gguf")


def test_a_conversation(tmp_path: Path) -> None:
    with Terminal("chat", "--seed", "1", "-n", "24", "--system", "Be kind.", "--stats", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        assert "has no chat template" in terminal.text and f"context {EMBEDDED_CONTEXT:,} tokens" in terminal.text
        terminal.type("Hello there\r")
        terminal.wait_for("^>>>", 2)
        assert re.search(r"^\(cut at 24 tokens", terminal.text, re.M)
        assert "24 generated at" in terminal.text and f"of {EMBEDDED_CONTEXT:,} tokens (" in terminal.text
        terminal.type("/sy")
        terminal.wait_for("show or replace the system prompt")
        terminal.type("\t")
        terminal.wait_for("^>>> /system")
        terminal.type("\r")
        terminal.wait_for("^Be kind.$")
        terminal.type("/undo\r")
        terminal.wait_for("^Taken back: Hello there$")
        terminal.type("/frob\r")
        terminal.wait_for("^Error: There is no command '/frob'")
        terminal.wait_for("^>>>", 5)
        assert COLOUR.search(terminal.raw)
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text


def test_ctrl_c_stops_the_answer_and_not_the_program(endless: str, tmp_path: Path) -> None:
    with Terminal("chat", endless, "--ignore-eos", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("Tell me of the sea\r")
        terminal.wait_for(r"the sea\n.*[a-z]+ [a-z]+")  # the answer is seen while it comes
        terminal.type("typed meanwhile\x03")
        terminal.wait_for(r"^\(stopped; /undo takes the turn back\)")
        terminal.wait_for("^>>>", 2)
        terminal.type("half a message\x03")
        terminal.wait_for("^Ctrl-D or /quit ends the chat")
        terminal.wait_for("^>>>", 3)
        terminal.type(f"/save {tmp_path}/chat.json\r")
        terminal.wait_for("^Saved to")
        terminal.type("/quit\r")
        assert terminal.wait() == 0
    question, answer = json.loads((tmp_path / "chat.json").read_text())["messages"]
    assert question["content"] == "Tell me of the sea" and len(answer["content"].split()) >= 2
    assert "typed" not in answer["content"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_sighup_end_the_program(tmp_path: Path, number: int, status: int) -> None:
    with Terminal("chat", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.signal(number)
        assert terminal.wait() == status and "Traceback" not in terminal.text


def test_several_lines_and_the_history(tmp_path: Path) -> None:
    with Terminal("chat", "-n", "4", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("\x1b[200~pasted one\npasted two\x1b[201~")
        terminal.wait_for(r"^\.\.\. pasted two")
        terminal.type("\r")
        terminal.wait_for("^>>>", 2)
        terminal.type('"""quoted one\r')
        terminal.wait_for(r"^\.\.\.", 2)
        terminal.type('quoted two"""\r')
        terminal.wait_for("^>>>", 3)
        terminal.type("typed one\x1b\rtyped two\r")
        terminal.wait_for("^>>>", 4)
        terminal.type(f"/save {tmp_path}/chat.json\r")
        terminal.wait_for("^Saved to")
        terminal.type("\x04")
        assert terminal.wait() == 0
    messages = json.loads((tmp_path / "chat.json").read_text())["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == [
        "pasted one\npasted two",
        "quoted one\nquoted two",
        "typed one\ntyped two",
    ]
    history = tmp_path / "sterna" / "chat-history"
    assert history.stat().st_mode & 0o777 == 0o600
    with Terminal("chat", "-n", "4", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("\x1b[A\x1b[A\x1b[A")
        terminal.wait_for("^>>> typed one\n... typed two")


def test_a_history_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "sterna" / "chat-history").mkdir(parents=True)
    with Terminal("chat", "-n", "4", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("Hello\r")
        terminal.wait_for("^>>>", 2)
        terminal.type("\x04")
        assert terminal.wait() == 0 and "Error" not in terminal.text


def test_full_contexts_are_said(tmp_path: Path) -> None:
    with Terminal("chat", "--ignore-eos", "--ctx", "96", "--seed", "3", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("Who goes there?\r")
        terminal.wait_for(r"^\(cut: the context of 96 tokens is full\)")
        terminal.wait_for("^>>>", 2)
        terminal.type("And then?\r")
        terminal.wait_for("^The context is full: the oldest 1 turn will not be sent any more.")
        terminal.wait_for("^>>>", 3)
        terminal.type("word " * 120 + "\r")
        terminal.wait_for("^Error: The prompt has ")
        terminal.wait_for("^>>>", 4)


def test_a_model_that_thinks_and_has_a_hostile_name(tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.content }}\n{% endfor %}<think>\n"
    metadata = read_gguf(EMBEDDED_MODEL).metadata
    metadata = {**metadata, "tokenizer.chat_template": template, "general.name": "a\x1b]0;title\x07\nb"}
    write_gguf(tmp_path / "model.gguf", metadata, read_gguf(EMBEDDED_MODEL).tensors.values())
    with Terminal("chat", str(tmp_path / "model.gguf"), "-n", "12", "--seed", "1", home=tmp_path) as terminal:
        terminal.wait_for(f"^a␛]0;title␇ b, context {EMBEDDED_CONTEXT:,}")
        terminal.wait_for("^>>>")
        assert "no chat template" not in terminal.text
        terminal.type("Hello\r")
        terminal.wait_for(r"^thought for [\d.]+ s: \d+ words?; /thoughts shows them")
        terminal.wait_for("^>>>", 2)
        seen = terminal.text
        terminal.type("/thoughts\r")
        terminal.wait_for("^>>>", 3)
        assert re.search(r"^>>> /thoughts\n(.*\w.*\n)+>>>", terminal.text, re.M)
        assert "(cut at 12 tokens" in seen and b"\x1b]0;" not in terminal.raw


def test_no_colour(tmp_path: Path) -> None:
    with Terminal("chat", "-n", "8", "--stats", home=tmp_path, NO_COLOR="1") as terminal:
        terminal.wait_for("^>>>")
        terminal.type("**Hello**\r")
        terminal.wait_for("^>>>", 2)
        terminal.type("/h")
        terminal.wait_for("this list")
        assert not COLOUR.search(terminal.raw)


def test_a_dumb_terminal(endless: str, tmp_path: Path) -> None:
    with Terminal("chat", endless, "--ignore-eos", "--seed", "1", home=tmp_path, term="dumb") as terminal:
        terminal.wait_for("^>>>")
        terminal.type('"""one\n')
        terminal.wait_for(r"^\.\.\.")
        terminal.type('two"""\n')
        terminal.wait_for(r'two"""\n(.|\n)*[a-z]+ [a-z]+')
        terminal.type("\x03")
        terminal.wait_for(r"^\(stopped;")
        terminal.wait_for("^>>>", 2)
        terminal.type("\x03")
        terminal.wait_for("^Ctrl-D or /quit ends the chat")
        terminal.type("/stats\n")
        terminal.wait_for(r"^context \d+ of 65,?536")
        terminal.type("\x04")
        assert terminal.wait() == 0
        assert b"\x1b" not in terminal.raw


def test_lines_of_a_pipe_are_messages_and_answers_are_plain_text() -> None:
    result = sterna("chat", "--seed", "1", "-n", "6", "--stats", stdin="\ufeffHello\r\n\n/quit\n**Why?**", TERM="xterm")
    assert result.returncode == 0 and "\x1b" not in result.stdout + result.stderr
    assert len(result.stdout.strip("\n").split("\n")) >= 3 and result.stdout.endswith("\n")
    assert len(re.findall(r"6 generated at", result.stderr)) == 3, "no line of a pipe is a command"
    assert "has no chat template" in result.stderr


def test_a_pipe_continues_the_conversation() -> None:
    both = sterna("chat", "--temp", "0", "-n", "8", stdin="Once\nAnd then?\n").stdout
    one = sterna("chat", "--temp", "0", "-n", "8", stdin="Once\n").stdout
    other = sterna("chat", "--temp", "0", "-n", "8", stdin="And then?\n").stdout
    assert both.startswith(one) and both != one + other


@pytest.mark.parametrize(
    ("stdin", "words"),
    [(b"\xff\xfe\n", "stdin is not UTF-8 text"), (b"word " * 3000, f"the context of {EMBEDDED_CONTEXT} has room for")],
)
def test_an_error_ends_a_pipe(stdin: bytes, words: str) -> None:
    result = sterna("chat", stdin=stdin)
    assert result.returncode == 1 and words in result.stderr and "Traceback" not in result.stderr


def test_a_closed_input_is_told() -> None:
    closed = shell("sterna chat <&-")
    assert closed.returncode == 1 and "stdin cannot be read" in closed.stderr


def test_ctrl_c_ends_a_chat_with_a_pipe() -> None:
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-m", "sterna", "chat"], stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"Hello\n")
    process.stdin.flush()
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in stderr


def test_other_verbs_do_not_wait_for_what_only_a_chat_needs() -> None:
    code = "import sys, sterna.cli.main; print(sorted({'prompt_toolkit', 'markdown_it', 'rich.live'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_completion_of_commands_and_of_what_follows_them(tmp_path: Path) -> None:
    (tmp_path / "chat.json").touch()
    completer = CommandCompleter(lambda: ["sterna-tern", "bonsai-8b"])

    def completed(text: str) -> list[str]:
        document = Document(text)
        found = completer.get_completions(document, CompleteEvent())
        return [text[: len(text) + each.start_position] + each.text for each in found]

    assert completed("/s") == ["/system", "/set", "/save", "/stats"]
    assert completed("/set te") == ["/set temp"] and completed("/set temp 0") == completed("Hello /s") == []
    assert completed("/model b") == ["/model bonsai-8b"] and completed("/undo ") == []
    assert completed(f"/load {tmp_path}/ch") == [f"/load {tmp_path}/chat.json"]


def test_a_line_without_end_and_a_reader_that_leaves() -> None:
    endless = shell("sterna chat < /dev/zero")
    assert endless.returncode == 1 and "longer than any context" in endless.stderr
    left = shell("yes Hello | head -40 | sterna chat -n 40 --ignore-eos | head -c 1; echo ${PIPESTATUS[2]}")
    assert left.stdout.endswith("141\n")


def test_a_terminal_whose_output_goes_elsewhere(tmp_path: Path) -> None:
    with Terminal(line=f"sterna chat -n 4 > {tmp_path}/answers", home=tmp_path) as terminal:
        terminal.wait_for("^>>>")
        terminal.type("Hello\n")
        terminal.wait_for("^>>>", 2)
        terminal.type("\x04")
        assert terminal.wait() == 0
    answers = (tmp_path / "answers").read_text()
    assert answers.strip() and ">>>" not in answers and "\x1b" not in answers
