"""The command line's conventions: help, flags, names of models, escapes, errors of usage, and its output streams."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from sterna import LLM, __version__
from sterna.bench.throughput import bench
from sterna.cli import output
from sterna.cli.main import app, main
from sterna.cli.texts import argument_text
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, OptionError
from sterna.files.embedded import EMBEDDED_MODEL

from .command import shell, sterna

GREEDY = "-n 8 --temp 0"
VERBS = [verb.name for verb in app.registered_commands]


class Command:
    """Runs commands inside this process, which is quicker than to start one for each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch, self.streams = monkeypatch, capsys
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def __call__(self, line: str, stdin: str | None = None) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command, whose words are quoted as in a shell."""
        self.patch.setattr(sys, "argv", ["sterna", *shlex.split(line)])
        with tempfile.TemporaryFile() as file:
            file.write((stdin or "").encode())
            file.seek(0)
            self.patch.setattr(sys, "stdin", None if stdin is None else io.TextIOWrapper(file))
            with pytest.raises(SystemExit) as caught:
                main()
        status = caught.value.code or 0
        assert isinstance(status, int)
        return status, *self.streams.readouterr()

    def text(self, line: str, stdin: str | None = None) -> str:
        """The stdout of a command, which must succeed and leave stderr empty."""
        status, stdout, stderr = self(line, stdin)
        assert (status, stderr) == (0, "")
        return stdout

    def json(self, line: str, stdin: str | None = None) -> dict[str, Any]:
        """The object that a command prints."""
        fields: dict[str, Any] = json.loads(self.text(f"{line} --json", stdin))
        return fields


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_version(command: Command) -> None:
    assert command.text("--version") == command.text("-V") == f"sterna {__version__}\n"


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_has_help(command: Command, verb: str) -> None:
    text = command.text(f"{verb} -h")
    assert text == command.text(f"{verb} --help") and text.startswith(f"Usage: sterna {verb}".rstrip())
    assert max(map(len, text.splitlines())) <= 80


def test_the_readme_names_every_verb_and_no_other() -> None:
    table = (Path(__file__).parents[1] / "README.md").read_text().split("\n## Verbs\n")[1].split("\n## ")[0]
    assert all(re.search(rf"`(sterna )?{verb}\b", table) for verb in VERBS)
    assert set(re.findall(r"`sterna ([a-z]+)", table)) <= set(VERBS)


def test_help_tells_the_context_of_the_embedded_model(command: Command) -> None:
    context = LLM(threads=1).context_length
    for verb in ("", "run", "chat", "info", "bench", "eval", "batch", "serve"):
        assert f"has a context of {context:,} tokens" in " ".join(command.text(f"{verb} -h").split())


def test_without_a_verb_there_is_help_and_the_status_of_bad_usage(command: Command) -> None:
    assert command("") == (2, command.text("-h"), "")


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_shells_complete_verbs_flags_and_models(kind: str) -> None:
    def complete(*words: str) -> str:
        variables = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        line = " ".join(words)
        return sterna(
            _STERNA_COMPLETE=f"complete_{kind}",
            _TYPER_COMPLETE_ARGS=line,
            _TYPER_COMPLETE_FISH_ACTION="get-args",
            **variables,
        ).stdout

    assert "convert" in complete("sterna", "con")
    assert "--max-tokens" in complete("sterna", "run", "--max")
    assert "sterna-tern" in complete("sterna", "run", "stern")
    assert "bitnet-2b" in complete("sterna", "run", "-m", "bitnet-2")


def test_completion_can_be_installed() -> None:
    assert "--install-completion" in sterna("-h").stdout
    assert "sterna" in shell("sterna --show-completion").stdout


def test_the_model_can_be_given_by_a_flag(command: Command) -> None:
    expected = command.text(f"run -p Once {GREEDY}")
    for model in ("sterna-tern", "-m sterna-tern", "--model sterna-tern"):
        assert command.text(f"run {model} -p Once {GREEDY}") == expected
    assert command.json("info -m sterna-tern")["architecture"] == "bitnet-b1.58"


def test_the_embedded_model_has_a_name_everywhere(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path))
    text = "It was a dark and stormy night; the rain fell in torrents."
    named, unnamed = (command.json(f"eval {model} --text -", stdin=text) for model in ("sterna-tern", ""))
    assert named["nll_per_token"] == unnamed["nll_per_token"]
    assert "equal" in command.text(f"convert sterna-tern {tmp_path}/copy.gguf --verify")
    assert command.text(f"run {tmp_path}/copy.gguf -p Once {GREEDY}") == command.text(f"run -p Once {GREEDY}")
    assert command.json("bench -m sterna-tern -p 8 -n 2 -r 1")["model"] == "sterna-tern"
    assert "sterna-tern" in command.text("list")
    listed = command.json("list")
    assert listed["embedded"]["name"] == "sterna-tern" and listed["models"] == []
    assert Path(command.text("pull sterna-tern").strip()) == Path(listed["embedded"]["path"])
    assert command("rm sterna-tern")[0] == 2 and Path(listed["embedded"]["path"]).exists()


def test_no_limit_and_a_random_seed_are_minus_one(command: Command) -> None:
    _, stdout, _ = command("run -p Once -n -1 -c 24 --seed -1 --ignore-eos --json")
    fields = json.loads(stdout)
    assert fields["prompt_tokens"] + fields["completion_tokens"] == 24 and fields["stop_reason"] == "length"
    again = json.loads(command(f"run -p Once -c 24 --seed {fields['seed']} --ignore-eos --json")[1])
    assert again["token_ids"] == fields["token_ids"]


def test_a_text_that_the_context_ends_says_so(command: Command) -> None:
    most, prompt = LLM(threads=1).context_length, len(LLM(threads=1).tokenize("Once"))
    long = "run -p Once --ignore-eos --temp 0"
    part = f"The context of 16 tokens is full; --ctx takes up to {most}.\n"
    assert command(f"{long} -n -1 -c 16")[2] == command(f"{long} -c 16 --json")[2] == part
    assert command(f"{long} -n -1")[2] == f"The context of {most} tokens is full; this model has no more.\n"
    assert command(f"{long} -n 5 -c 16")[2] == ""
    assert command(f"{long} -n {16 - prompt} -c 16")[2] == "", "the limit that was asked for"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (r"a\nb", "a\nb"),
        (r"\t\r\"\'\\", "\t\r\"'\\"),
        (r"\x41\xe2\x82\xac", "A€"),
        (r"\q \d \ ", r"\q \d \ "),
        (r"\\n", r"\n"),
        (r"\x4", r"\x4"),
        ("é\\n€", "é\n€"),
        ("end\\", "end\\"),
    ],
)
def test_escapes_mean_what_they_mean_to_llama_cpp(given: str, meant: str) -> None:
    assert argument_text(given, "-p", escape=True) == meant
    assert argument_text(given, "-p", escape=False) == given


def test_bytes_that_are_no_text_are_the_flags_fault() -> None:
    for given in (r"\xff", "a\udcff"):
        with pytest.raises(OptionError, match="^-p is not UTF-8 text.$"):
            argument_text(given, "-p", escape=True)


def test_escapes_hold_for_prompts_and_stop_strings_of_flags_alone(command: Command, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text(r"One\nTwo")

    def tokens(arguments: str, stdin: str | None = None) -> int:
        return int(command.json(f"run {arguments} -n 1", stdin)["prompt_tokens"])

    llm = LLM(threads=1)
    escaped, plain = len(llm.tokenize("One\nTwo")), len(llm.tokenize(r"One\nTwo"))
    assert escaped != plain
    assert tokens(r"-p 'One\nTwo'") == tokens(r"-p 'One\nTwo' -e") == tokens("-p 'One\nTwo'") == escaped
    assert tokens(r"-p 'One\nTwo' --no-escape") == plain
    assert tokens(f"-f {tmp_path}/prompt") == tokens("", stdin=r"One\nTwo") == plain
    text = command.text("run -p Once -n 40 --temp 0")
    code = f"\\x{ord(text[9]):02x}"
    assert command.text(f"run -p Once -n 40 --temp 0 --stop '{code}'") == text[: text.index(text[9])] + "\n"


@pytest.mark.parametrize("before", ["", "\ufeff"])
@pytest.mark.parametrize("after", ["", "\n", "\r\n"])
def test_the_newline_and_the_bom_of_a_file_are_no_prompt(
    command: Command, tmp_path: Path, before: str, after: str
) -> None:
    given = f"{before}The ship\n{after}"
    (tmp_path / "prompt").write_bytes(given.encode())
    expected = len(LLM(threads=1).tokenize("The ship\n" if after else "The ship"))
    for arguments, stdin in ((f"-f {tmp_path}/prompt", None), ("", given), ("-f -", given)):
        assert command.json(f"run {arguments} -n 1", stdin)["prompt_tokens"] == expected


def test_a_text_to_score_may_come_from_stdin(command: Command, tmp_path: Path) -> None:
    text = "The captain went on deck, and looked at the sea. " * 3
    (tmp_path / "text").write_text(text)
    scores = command.json("eval --text -", stdin=text), command.json(f"eval --text {tmp_path}/text")
    assert scores[0]["bits_per_byte"] == scores[1]["bits_per_byte"]


SENTENCES = [
    ("run -p x -n abc", "-n/--max-tokens is a whole number from 1, or -1 for no limit, not 'abc'."),
    ("run -p x -n 0", "-n/--max-tokens is a whole number from 1, or -1 for no limit, not 0."),
    ("run -p x --seed -2", "--seed is a whole number from 0 to 18446744073709551615, or -1 for a random one, not -2."),
    ("run -p x --temp hot", "--temp/--temperature is a number from 0, not 'hot'."),
    ("run -p x --top-p 0", "--top-p is a number above 0, at most 1, not 0.0."),
    ("run -p x --kv f8", "--kv is f16, int8 or f32, not 'f8'."),
    ("run -p x -c 1", "-c/--ctx is a whole number from 2, not 1."),
    ("run -p x -c 9999999", "-c/--ctx is at most {context}, the context of this model, not 9999999."),
    ("run -p x --stop=", "--stop is a string that is not empty."),
    ("run -p x --i2s-layout foo", "--i2s-layout is x86, arm or x86-rows, not 'foo'."),
    ("info --i2s-layout foo", "--i2s-layout is x86, arm or x86-rows, not 'foo'."),
    ("convert sterna-tern {tmp}/a.gguf --tl-tiles foo", "--tl-tiles is preset or setup, not 'foo'."),
    (
        "convert sterna-tern {tmp}/a.gguf --split-size big",
        "--split-size is a size such as 8GB or 512MiB, not 'big'.",
    ),
    ("bench -r none", "-r is a whole number from 1, not 'none'."),
    ("batch in out --price nan", "--price is a number from 0, not nan."),
    ("batch in out --chunk 0", "--chunk is a whole number from 1, not 0."),
    ("serve --port 65536", "--port is a whole number from 0 to 65535, not 65536."),
    ("bench -p 5,x", "-p is a whole number from 1, not 'x'."),
    ("run --version", "There is no flag --version; `sterna run -h` lists those there are."),
    ("bench -p 0", "-p is a whole number from 1, not 0."),
    ("run -p x --tempp 1", "There is no flag --tempp; did you mean '--temp'?"),
    ("convert a b --typ i2_s", "There is no flag --typ; did you mean '--type'?"),
    ("rnu -p x", "There is no verb 'rnu'; did you mean 'run'?"),
    ("run -p x --zzz", "There is no flag --zzz; `sterna run -h` lists those there are."),
    ("run {tmp} --i2s-layout arm -p x", "--i2s-layout is for GGUF files, and {tmp} is a folder."),
    ("--verson", "There is no flag --verson; did you mean '--version'?"),
    ("eval", "Give --text, --tasks or --fetch, one of the three."),
    ("pull", "sterna pull needs NAME."),
    ("run -p x -n", "-n needs a value."),
    ("run -p x --ignore-eos=no", "--ignore-eos takes no value."),
    ("run a b c", "sterna run takes [MODEL], and 'b c' is too much; a prompt is given with -p."),
    ("list a", "sterna list takes no argument, and 'a' is too much."),
    ("run -p x -m a b", "Give the model once: as MODEL or with -m/--model."),
]


@pytest.mark.parametrize(("line", "sentence"), SENTENCES, ids=[line for line, _ in SENTENCES])
def test_bad_usage_is_one_sentence_with_the_flags_own_name(
    command: Command, tmp_path: Path, line: str, sentence: str
) -> None:
    context = LLM(threads=1).context_length if "{context}" in sentence else 0
    assert command(line.format(tmp=tmp_path)) == (2, "", f"Error: {sentence.format(context=context, tmp=tmp_path)}\n")


@pytest.mark.parametrize(
    "line",
    [
        "run /nowhere -p x",
        "run -f /nowhere",
        "info /nowhere",
        "eval /nowhere --text {tmp}",
        "eval --text /nowhere",
        "bench /nowhere",
        "convert /nowhere {tmp}/a.gguf",
        "convert sterna-tern /nowhere/a.gguf",
        "rm no/such-model",
        "train /nowhere",
    ],
)
def test_what_is_not_there_fails_alike_in_every_verb(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path))
    status, stdout, stderr = command(line.format(tmp=tmp_path))
    assert (status, stdout) == (1, "") and re.fullmatch(r"Error: [^\n]*\.\n", stderr)


CLOSED, FULL = "it is closed", "No space left on device"
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@needs_full_device
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line",
    ["run -p a -n 2 --json", "run -p a -n 2", "-h", "run -h", "-V", "info", "info --json", "list", "pull sterna-tern"],
)
def test_output_that_takes_nothing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, line: str, unbuffered: str) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    for target, reason in ((">&-", CLOSED), ("> /dev/full", FULL)):
        result = shell(f"sterna {line} {target}")
        assert (result.returncode, result.stderr) == (1, f"Error: Cannot write to standard output: {reason}.\n")


@pytest.mark.parametrize("line", ["run -p a -n 100 --ignore-eos", "list", "run -h", "info --json"])
def test_a_reader_that_leaves_ends_the_command_quietly(line: str) -> None:
    result = shell(f"sterna {line} | head -c 1; echo ${{PIPESTATUS[0]}} >&2")
    assert result.stderr in ("141\n", "0\n") and len(result.stdout) == 1
    # The reader is gone before the first byte comes.
    assert shell(f"sterna {line} | true; echo ${{PIPESTATUS[0]}} >&2").stderr == "141\n"


@needs_full_device
def test_errors_that_cannot_be_told_leave_their_status() -> None:
    for target in ("2>&-", "2> /dev/full"):
        assert shell(f"sterna run -p a -n 0 {target}").returncode == 2
        result = shell(f"sterna run -p a -n 2 --stats {target}")
        assert result.returncode == 0 and "tokens" not in result.stdout and result.stderr == ""
    assert shell("sterna run -p a -n 2 <&- >&- 2>&-").returncode == 1


def test_an_unexpected_error_is_reported(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> int:
        raise EOFError  # typer makes an Abort of it

    monkeypatch.setattr("sterna.files.hub.cache.remove_cached", fail)
    status, stdout, stderr = command("rm x")
    assert (status, stdout) == (1, "") and "Error: Something that should not happen did: Abort" in stderr


def test_warnings_are_sentences_without_places(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sterna._native.known_answers_hold", lambda isa: False)
    status, text, stderr = command("run -p a -n 2")
    assert (status, bool(text)) == (0, True)
    assert re.fullmatch(r"Warning: The \w+ kernels gave wrong answers on this machine; using scalar\.\n", stderr)


def test_nothing_is_cut_in_a_file(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ("a long name of a folder " * 8).strip() / "model.gguf"
    path.parent.mkdir()
    shutil.copy(EMBEDDED_MODEL, path)
    assert str(path) in command.text(f"info '{path}'")
    monkeypatch.setenv("COLUMNS", "40")
    assert str(path) in command.text(f"info '{path}'")


def test_a_terminal_folds_what_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 100) / "model.gguf"
    path.parent.mkdir()
    shutil.copy(EMBEDDED_MODEL, path)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-m", "sterna", "info", str(path)], stdout=theirs, env=environment)
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 65536):
            output += part
    except OSError:  # the other end is closed
        pass
    assert process.wait(30) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m|\r", "", output.decode()).splitlines()
    assert max(map(len, lines)) <= 60
    assert str(path) in "".join(line[len("chat template  ") :].rstrip() for line in lines[:8])


def test_long_work_shows_a_bar_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setattr(output, "DELAY_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        shown = b""
        with output.delayed_progress("loading") as advance:
            while b"loading" not in shown:
                shown += os.read(ours, 65536)
            advance(0.25)
            while b"25%" not in shown:
                shown += os.read(ours, 65536)
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with output.delayed_progress("loading") as advance:
        advance(0.5)
    assert file.getvalue() == ""


@pytest.mark.parametrize("name", ["model.GGUF", "model.Gguf"])
def test_the_ending_of_a_file_is_known_in_any_case(command: Command, tmp_path: Path, name: str) -> None:
    command.text(f"convert sterna-tern {tmp_path / name}")
    command.text(f"convert sterna-tern {tmp_path}/parts-{name} --split-size 2.5MiB")
    assert (tmp_path / name).is_file() and (tmp_path / "parts-model-00001-of-00002.gguf").is_file()


@pytest.mark.parametrize("name", ["f.safetensors", "model.SAFETENSORS", "pytorch_model.bin"])
def test_a_file_of_weights_is_no_folder(command: Command, tmp_path: Path, name: str) -> None:
    status, _, stderr = command(f"convert sterna-tern {tmp_path / name}")
    assert status == 2 and not (tmp_path / name).exists() and "a Hugging Face model is a folder" in stderr


@pytest.mark.parametrize("context", [3, 16, 100])
def test_bench_takes_what_a_short_context_has(command: Command, context: int) -> None:
    fields = command.json(f"bench -c {context} -r 1")
    assert list(fields["prefill_tps"]) == [str(context - 1)]
    assert fields["depth"] + fields["decode_tokens"] <= context and fields["decode_tps"] > 0


def test_bench_takes_several_lengths(command: Command) -> None:
    assert list(command.json("bench -p 4,7 -p 9 -n 2 -r 1")["prefill_tps"]) == ["4", "7", "9"]


def test_bench_refuses_what_is_asked_for_and_does_not_fit(command: Command) -> None:
    status, _, stderr = command("bench -c 100 -n 101")
    assert status == 2 and "context" in stderr
    for lengths in ({"decode_tokens": 0}, {"depth": 0}):
        with pytest.raises(ArgumentError, match="context"):
            bench(None, "sterna-tern", EngineOptions(threads=1), **lengths)
