"""Jobs on the embedded model: what comes out equals what the model itself says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.batch import PLAIN, BatchReport, run
from sterna.batch.answerer import Answerer
from sterna.batch.lines import RawLine, entries, parse_line, seed_of
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, FormatError, NotFoundError, UnsupportedError
from sterna.server.errors import ApiError
from tests.batch.jobs import mixed_lines, openai_line, read_lines, write_lines
from tests.command import sterna


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job with lines of every kind."""
    folder = tmp_path_factory.mktemp("mixed")
    report = run(write_lines(folder / "in.jsonl", mixed_lines(60)), folder / "out.jsonl")
    assert (report.done, report.failed, report.share) == (60, 6, 1.0)
    return folder


def test_outcomes_are_in_the_order_of_the_lines(mixed: Path) -> None:
    lines, out = mixed_lines(60), read_lines(mixed / "out.jsonl")
    named = [line.get("custom_id", line.get("label")) for line in out]
    assert named == [line.get("custom_id", line.get("label")) for n, line in enumerate(lines) if n % 10 != 9]
    errors = read_lines(mixed / "out.jsonl.errors.jsonl")
    assert [line["error"]["line"] for line in errors] == [10, 20, 30, 40, 50, 60]
    assert {path.name for path in mixed.iterdir()} == {"in.jsonl", "out.jsonl", "out.jsonl.errors.jsonl"}


def test_errors_say_why(mixed: Path) -> None:
    unread, long = read_lines(mixed / "out.jsonl.errors.jsonl")[:2]
    assert unread["response"] is None and unread["custom_id"] is None
    assert unread["error"]["code"] == "invalid_json_line" and unread["id"].startswith("batch_req_")
    assert long["custom_id"] == "l19" and long["response"]["status_code"] == 400
    assert long["error"]["code"] == long["response"]["body"]["error"]["code"] == "context_length_exceeded"


def test_answers_are_those_of_the_model(mixed: Path, llm: LLM) -> None:
    for number, line in enumerate(mixed_lines(60), 1):
        if number % 10 == 0:
            continue
        raw = RawLine(number, b"")
        asked = parse_line(RawLine(number, json.dumps(line).encode()))
        (got,) = [each for each in read_lines(mixed / "out.jsonl") if same(each, line)]
        seed = seed_of(0, raw, asked)
        body = asked.body
        match asked.url if asked.row is None else "row":
            case "row":
                text = llm.generate(body["prompt"], max_tokens=6, temperature=0.9, seed=seed)
                assert got["generated_text"] == text and got["prompt"] == body["prompt"]
                assert got["completion_tokens"] == 6 and got["finish_reason"] == "length"
            case "/v1/completions":
                text = llm.generate(body["prompt"], max_tokens=8, temperature=1.0, seed=seed)
                assert got["response"]["body"]["choices"][0]["text"] == text
            case "/v1/chat/completions":
                texts = [llm.chat(body["messages"], max_tokens=6, temperature=1.0, seed=seed + n) for n in (0, 1)]
                assert [each["message"]["content"] for each in got["response"]["body"]["choices"]] == texts
            case "/v1/embeddings":
                vector = np.array(got["response"]["body"]["data"][0]["embedding"])
                whole = llm.embed([body["input"][0]])[0, :4]
                assert vector == pytest.approx(whole / np.linalg.norm(whole), abs=1e-6)
            case "/v1/responses":
                messages = [{"role": "user", "content": body["input"]}]
                text = llm.chat(messages, max_tokens=5, temperature=1.0, seed=seed)
                assert got["response"]["body"]["output"][0]["content"][0]["text"] == text


def same(got: dict[str, Any], line: dict[str, Any]) -> bool:
    name = "custom_id" if "custom_id" in line else "label"
    return name in got and got[name] == line[name]


def test_outputs_hold_no_clock_and_no_chance(mixed: Path, tmp_path: Path) -> None:
    run(mixed / "in.jsonl", tmp_path / "out.jsonl", options=EngineOptions(threads=1))
    for name in ("out.jsonl", "out.jsonl.errors.jsonl"):
        assert (tmp_path / name).read_bytes() == (mixed / name).read_bytes()


def test_a_finished_job_runs_again_to_nothing(mixed: Path) -> None:
    before = (mixed / "out.jsonl").read_bytes()
    report = run(mixed / "in.jsonl", mixed / "out.jsonl")
    assert (report.done, report.failed, report.completion_tokens) == (60, 6, 0)
    assert (mixed / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"params": SamplingParams(max_tokens=3)}, {"options": EngineOptions(ctx=64)}]
)
def test_another_job_does_not_go_on_with_an_output(change: dict[str, Any], mixed: Path) -> None:
    with pytest.raises(ArgumentError, match="has answers of another job"):
        run(mixed / "in.jsonl", mixed / "out.jsonl", **change)


def test_plain_rows_take_options_from_the_caller_and_from_themselves(tmp_path: Path, llm: LLM) -> None:
    rows = [
        {"prompt": "The ship"},
        {"prompt": [5, 6], "max_tokens": 3},
        {"messages": [{"role": "user", "content": "Hi"}]},
    ]
    run(write_lines(tmp_path / "in", rows), tmp_path / "out", params=SamplingParams(max_tokens=5, stop=("zzz",)))
    out = read_lines(tmp_path / "out")
    assert [row["completion_tokens"] for row in out] == [5, 3, 5]
    assert out[0]["generated_text"] == llm.generate("The ship", max_tokens=5)
    assert out[2]["generated_text"] == llm.chat([{"role": "user", "content": "Hi"}], max_tokens=5)
    assert PLAIN.max_tokens == 256


@pytest.mark.parametrize(
    "body, sentence",
    [
        ({"prompt": "a", "max_tokens": 0}, "max_tokens is a whole number from 1"),
        ({"prompt": "a", "temperature": "hot"}, "temperature is not valid"),
        ({"prompt": {"a": 1}}, "is not valid"),
        ({"prompt": "a", "n": 2}, "A plain row has one prompt and one answer"),
        ({"prompt": ["a", "b"]}, "A plain row has one prompt and one answer"),
        ({"prompt": [10**9]}, "vocabulary"),
        ({"messages": "hello"}, "messages is not valid"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "A content is text"),
    ],
)
def test_a_bad_row_stops_nothing(body: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "max_tokens": 1}, body, {"prompt": "b", "max_tokens": 1}]
    report = run(write_lines(tmp_path / "in", rows), tmp_path / "out", errors=tmp_path / "bad")
    assert (report.done, report.failed) == (3, 1)
    assert [row["prompt"] for row in read_lines(tmp_path / "out")] == ["a", "b"]
    (error,) = read_lines(tmp_path / "bad")
    assert sentence in error["error"]["message"] and error["error"]["line"] == 2


def test_an_embedding_of_nothing_is_an_error(tmp_path: Path) -> None:
    lines = [openai_line("a", "embeddings", input=[]), openai_line("b", "embeddings", input=[[]])]
    assert run(write_lines(tmp_path / "in", lines), tmp_path / "out").failed == 2


def test_common_prefixes_are_computed_once(tmp_path: Path) -> None:
    beginning = "It was a dark and stormy night, and the rain fell upon the roof of the old house by the sea. " * 6
    others = [f"{n} " + "the ship and the house and the road " * 16 for n in range(8)]
    rows = [row for n, other in enumerate(others) for row in
            ({"prompt": f"{beginning}{n}", "max_tokens": 1}, {"prompt": other, "max_tokens": 1})]  # fmt: skip
    report = run(write_lines(tmp_path / "in", rows), tmp_path / "out")
    assert report.cached_tokens > report.prompt_tokens // 4


def test_inputs_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="cannot be read"):
        run(tmp_path / "none", tmp_path / "out")
    with pytest.raises(NotFoundError, match="no such file"):
        run(tmp_path / "none.parquet", tmp_path / "out")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(FormatError, match="is no Parquet table"):
        run(tmp_path / "broken.parquet", tmp_path / "out")
    with pytest.raises(ArgumentError, match="The output is a file"):
        run("-", "-")
    with pytest.raises(ArgumentError, match="three files"):
        run(tmp_path / "in", tmp_path / "x" / ".." / "in")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'sterna\[parquet\]'"):
        run(tmp_path / "broken.parquet", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"broken.parquet"}


def test_an_empty_input_has_an_empty_output(tmp_path: Path) -> None:
    report = run(write_lines(tmp_path / "in", []), tmp_path / "out")
    assert (report.done, (tmp_path / "out").read_bytes()) == (0, b"")


def test_the_verb_exits_with_what_happened(tmp_path: Path) -> None:
    good = '{"prompt": "The ship", "max_tokens": 2}\n'
    done = sterna("batch", "-", str(tmp_path / "out"), "--price", "0.1", stdin=good)
    assert done.returncode == 0 and "1 lines" in done.stderr and "for a million tokens" in done.stderr
    some = sterna("batch", "-", str(tmp_path / "some"), "--errors", str(tmp_path / "bad"), stdin=good + "{\n")
    assert some.returncode == 3 and "1 of them in the error file" in some.stderr
    changed = sterna("batch", "-", str(tmp_path / "out"), stdin=good.replace("ship", "sea"))
    assert changed.returncode == 2 and "the input was changed at line 1" in changed.stderr
    assert len(read_lines(tmp_path / "some")) == len(read_lines(tmp_path / "bad")) == 1


def test_progress_counts_what_earlier_runs_did(mixed: Path, tmp_path: Path) -> None:
    count = 600

    def interrupt(report: BatchReport) -> None:
        raise KeyboardInterrupt

    source = write_lines(tmp_path / "in", [b"{", b"[]", *mixed_lines(count)])
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out", progress=interrupt)
    told: list[tuple[int, int]] = []
    report = run(source, tmp_path / "out", progress=lambda report: told.append((report.done, report.failed)))
    assert told and told[0][1] >= 2 and told == sorted(told)
    assert (report.done, report.failed) == (count + 2, count // 10 + 2)


@pytest.mark.parametrize("lines", [60, 1500])
def test_a_stopped_answerer_refuses_the_rest(lines: int, llm: LLM) -> None:
    """Every line has one outcome, wherever it was: answered, in the engine, or not read."""
    asked = list(entries((RawLine(n, json.dumps(each).encode() if isinstance(each, dict) else each)
                          for n, each in enumerate(mixed_lines(lines), 1)), "job"))  # fmt: skip
    calls = 0

    def stop() -> ApiError | None:
        nonlocal calls
        calls += 1
        return ApiError(409, "Enough.", code="enough") if calls > 1 else None

    found = list(Answerer(llm, "model", 0, PLAIN, stop).outcomes(asked))
    assert sorted(outcome.key for outcome in found) == sorted(entry.key for entry in asked)
    refused = [json.loads(outcome.data)["error"]["code"] for outcome in found if outcome.failed]
    assert refused.count("enough") > 0 and refused.count("invalid_json_line") == sum(
        isinstance(each, bytes) for each in mixed_lines(lines)
    )
    llm._loop.call(lambda: None)
    assert not llm._loop.scheduler.has_requests
