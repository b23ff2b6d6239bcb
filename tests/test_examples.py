"""The programs in examples/, each run on a tiny input with the embedded model."""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbformat
import pytest
from openai import OpenAI

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.gguf import read_gguf, write_gguf
from sterna.server.known import known_models
from sterna.server.models import Models

from .server.conftest import Running, running

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of the embedded model, with a context in which tools have room."""
    path = tmp_path_factory.mktemp("model") / "long.gguf"
    file = read_gguf(EMBEDDED_MODEL)
    context = f"{file.metadata['general.architecture']}.context_length"
    write_gguf(path, {**file.metadata, context: 4096}, file.tensors.values())
    with running(Models(known_models([str(path)]), EngineOptions(threads=1))) as server:
        yield server


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of three texts, and of files that are none."""
    folder = tmp_path / "notes"
    (folder / "old").mkdir(parents=True)
    (folder / "light.txt").write_text("The keeper of the light is Hannah Moor.\n\n" + "The sea is wide. " * 60)
    (folder / "shop.md").write_text("# Prices\n\nA lamp costs 14 shillings. A rope costs 3 shillings.\n")
    (folder / "old" / "list.txt").write_text("ropes\n" + "x" * 1000)
    (folder / "empty.txt").write_text("")
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    return folder


def run_example(name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a program as `python examples/NAME ARGUMENTS` does."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_a_program_says_at_its_head_how_to_run_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"    python examples/{program.name}" in (ast.get_docstring(ast.parse(program.read_text())) or "")
    with pytest.raises(SystemExit) as ended:
        run_example(program.name, "--help", monkeypatch=monkeypatch)
    assert ended.value.code == 0


def test_retrieval_answers_and_names_its_sources(
    notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_example("retrieval.py", notes, "Who keeps the light?", "--max-tokens", 8, monkeypatch=monkeypatch)
    answer, sources = capsys.readouterr().out.split("\nSources:\n")
    assert answer.strip()
    numbers = re.findall(r"^\[(\d)\] .*\.(?:txt|md), line \d+ \(similarity -?\d\.\d\d\)$", sources, re.M)
    assert numbers == ["1", "2", "3"]


def test_retrieval_finds_the_passage_that_is_the_question(notes: Path) -> None:
    from sterna import LLM

    example = runpy.run_path(str(EXAMPLES / "retrieval.py"))
    with LLM(threads=1) as llm:
        files = sorted(notes.rglob("*.txt")) + [notes / "shop.md"]
        found = [passage for path in files for passage in example["passages"](path, llm, 40)]
        lengths = [len(llm.tokenize(passage.text)) for passage in found]
        assert len(found) > 10 and max(lengths) <= 60
        for path in files:  # nothing is lost but white space
            texts = "".join(passage.text for passage in found if passage.path == path)
            assert "".join(texts.split()) == "".join(path.read_text().split())
        assert found[0].text == "The keeper of the light is Hannah Moor." or found[0].line == 1
        cosine, best = example["nearest"](llm, found, found[-1].text, 2)[0]
        assert best == found[-1] and cosine == pytest.approx(1, abs=1e-5)


def test_classify_labels_every_line_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, output = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    texts.write_text("I loved every page.\n\nThe parcel was broken.\nWhen do you open? »Ça va«\n", "utf-8")
    for _ in range(2):
        run_example("classify.py", texts, output, "--labels", "praise", "complaint", monkeypatch=monkeypatch)
        counts = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert sum(int(count) for count, _ in counts) == 3
        assert {label for _, label in counts} <= {"praise", "complaint"}
    rows = [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    assert [row["text"] for row in rows] == [line for line in texts.read_text("utf-8").splitlines() if line]


def test_client_streams_a_chat(
    server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Who is there?\nAnd then?\n"))
    run_example("client.py", "--url", f"{server.url}/v1", "--max-tokens", 8, monkeypatch=monkeypatch)
    begin, *answers, end = capsys.readouterr().out.split(">>> ")
    assert (begin, end) == ("", "") and len(answers) == 2 and all(answer.strip() for answer in answers)


def test_agent_runs_with_a_server(
    server: Running, notes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["What is 2 + 2?", "--url", f"{server.url}/v1", "--folder", notes, "--max-tokens", 16, "--turns", 2]
    run_example("agent.py", *arguments, monkeypatch=monkeypatch)
    assert capsys.readouterr().out.strip()


def calls(*named: tuple[str, str]) -> httpx.Response:
    """A reply that calls tools."""
    tools = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(named)
    ]
    message = {"role": "assistant", "content": None, "tool_calls": tools}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "long", "choices": [choice]}
    return httpx.Response(200, json=reply)


class Scripted(httpx.BaseTransport):
    """Answers with these replies, and sends the requests after them to a server."""

    def __init__(self, replies: list[httpx.Response], server: httpx.Client | None = None):
        self.replies, self.server, self.bodies = replies, server, []  # type: ignore[var-annotated]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.read()))
        if self.replies:
            return self.replies.pop(0)
        assert self.server is not None
        reply = self.server.post("/v1/chat/completions", json=self.bodies[-1])
        return httpx.Response(reply.status_code, json=reply.json())


def ask_agent(transport: Scripted, folder: Path, turns: int) -> str | None:
    example = runpy.run_path(str(EXAMPLES / "agent.py"))
    client = OpenAI(base_url="http://sterna/v1", api_key="none", http_client=httpx.Client(transport=transport))
    said: str | None = example["answer"](client, "long", "What do three lamps cost?", folder, turns, 16)
    return said


def test_agent_gives_the_model_what_its_tools_found(server: Running, notes: Path) -> None:
    transport = Scripted(
        [calls(("search", '{"word": "LAMP"}')), calls(("calculate", '{"expression": "3 * 14"}'), ("search", "{}"))],
        server.http,
    )
    assert ask_agent(transport, notes, turns=3)
    results = [message["content"] for message in transport.bodies[-1]["messages"] if message["role"] == "tool"]
    assert results == ["shop.md: A lamp costs 14 shillings. A rope costs 3 shillings.", "42", "Error: 'word'"]


def test_agent_ends_after_its_turns(notes: Path) -> None:
    transport = Scripted([calls(("search", '{"word": "sea"}'))] * 2)
    assert ask_agent(transport, notes, turns=2) is None
    assert len(transport.bodies) == 2


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("(2 + 3) * 4.5", "22.5"),
        ("-1 / 4", "-0.25"),
        ("1 / 0", "Error: "),
        ("2 ** 9999999", "Error: "),
        ("__import__('os')", "Error: "),
        ("(" * 300 + "1" + ")" * 300, "Error: "),
        ("1 +", "Error: "),
    ],
)
def test_the_calculator_takes_numbers_alone(expression: str, result: str, tmp_path: Path) -> None:
    use: Any = runpy.run_path(str(EXAMPLES / "agent.py"))["use"]
    said = use("calculate", json.dumps({"expression": expression}), tmp_path)
    assert said.startswith(result) and (result == "Error: " or said == result)


def test_the_search_stays_in_its_folder(tmp_path: Path, notes: Path) -> None:
    (tmp_path / "secret.txt").write_text("rope")
    (notes / "link.txt").symlink_to(tmp_path / "secret.txt")
    use: Any = runpy.run_path(str(EXAMPLES / "agent.py"))["use"]
    assert use("search", '{"word": "rope"}', notes).splitlines() == [
        "old/list.txt: ropes",
        "shop.md: A lamp costs 14 shillings. A rope costs 3 shillings.",
    ]
    assert use("search", '{"word": "nowhere"}', notes) == "No line has this word."


def test_the_notebook_runs_from_its_first_cell_to_its_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    names: dict[str, Any] = {}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells):
        assert cell.outputs == [] and cell.execution_count is None, "outputs are not kept: models change"
        exec(compile(cell.source, f"cell {number}", "exec"), names)
    names["llm"].close()
    (plot,) = names["axes"].containers
    assert [bar.get_height() for bar in plot] == [-entry.logprob for entry in names["entries"]]
    assert "surprise" in names["axes"].get_ylabel() and "most likely" in capsys.readouterr().out
