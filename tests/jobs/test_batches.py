"""Batches over uploaded files: statuses, outcomes, cancelling, restarts, and what they cost other requests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from sterna.batch import run
from sterna.checkpoint import open_checkpoint
from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
from sterna.jobs import batches as batches_module
from sterna.jobs import files as files_module
from sterna.server.known import known, known_models, with_adapters
from sterna.server.models import Models
from sterna.server.served import Policy, loaded_bytes
from tests.adapters.random_adapters import random_adapter, saved
from tests.batch.jobs import mixed_lines, openai_line, write_lines
from tests.jobs.conftest import begin, content_of, ended, text_of, upload, with_jobs
from tests.server.conftest import Running
from tests.server.slow import slow


def unbroken(folder: Path, lines: list[Any], **more: Any) -> tuple[bytes, bytes]:
    """What `sterna batch` makes of lines."""
    run(write_lines(folder / "in.jsonl", lines), folder / "out.jsonl", **more)
    errors = folder / "out.jsonl.errors.jsonl"
    return (folder / "out.jsonl").read_bytes(), errors.read_bytes() if errors.exists() else b""


def endless(count: int, tokens: int = 400) -> list[Any]:
    """Lines that keep an engine busy."""
    return [{"prompt": f"{n} ships", "max_tokens": tokens, "ignore_eos": True} for n in range(count)]


def status(served: Running, id: str) -> str:
    return served.openai.batches.retrieve(id).status


def counts(batch: openai.types.Batch) -> tuple[int, int, int]:
    assert batch.request_counts is not None
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


def test_a_batch_has_the_bytes_of_the_command(served: Running, tmp_path: Path) -> None:
    lines = mixed_lines(60)
    batch = begin(served, lines, metadata={"for": "a test"}, extra_body={"seed": 7})
    assert batch.status == "validating" and batch.metadata == {"for": "a test"} and batch.object == "batch"
    batch = ended(served, batch)
    assert batch.status == "completed" and counts(batch) == (60, 54, 6) and batch.errors is None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at  # type: ignore[operator]
    assert batch.expires_at == batch.created_at + 86400 and batch.model == EMBEDDED_NAME
    made = text_of(served, batch.output_file_id), text_of(served, batch.error_file_id)
    assert made == unbroken(tmp_path, lines, seed=7)
    output = served.openai.files.retrieve(batch.output_file_id or "")
    assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")


def test_files_without_lines_are_not_published(served: Running) -> None:
    good = ended(served, begin(served, [openai_line("a", "completions", prompt="a", max_tokens=1)]))
    assert good.output_file_id and good.error_file_id is None
    bad = ended(served, begin(served, [b"{", openai_line("a", "completions", prompt=9)]))
    assert bad.status == "completed" and bad.output_file_id is None and bad.error_file_id
    assert counts(bad) == (2, 0, 2)


@pytest.mark.parametrize(
    "lines, code, line",
    [
        ([], "empty_file", None),
        ([b"", b"  "], "empty_file", None),
        ([{"prompt": "a", "model": "none"}], "model_not_found", 1),
        ([{"prompt": "a", "model": EMBEDDED_NAME}, {"prompt": "a", "model": "other"}], "mismatched_model", 2),
    ],
)
def test_a_batch_that_cannot_run_fails(lines: list[Any], code: str, line: int | None, tmp_path: Path) -> None:
    (tmp_path / "other.gguf").symlink_to(EMBEDDED_MODEL)
    with with_jobs(Models(known_models([EMBEDDED_NAME, str(tmp_path / "other.gguf")]))) as served:
        batch = ended(served, begin(served, lines))
    assert batch.status == "failed" and batch.failed_at and batch.output_file_id is None
    assert batch.errors is not None and batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.code, error.line) == (code, line) and error.message and error.message.endswith(".")


def test_wrong_requests_are_told_why(served: Running) -> None:
    file = upload(served, [{"prompt": "a"}]).id
    good = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    for change, sentence in (
        ({"input_file_id": "../x"}, "There is no file '../x'"),
        ({"input_file_id": None}, "The field input_file_id is missing"),
        ({"endpoint": "/v1/images"}, "The endpoint is one of"),
        ({"completion_window": "soon"}, "completion_window is a time"),
        ({"completion_window": "-1"}, "completion_window is a time"),
        ({"metadata": {"a": 1}}, "metadata is not valid"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata is not valid"),
        ({"seed": -1}, "seed is not valid"),
    ):
        response = served.post("/v1/batches", {**good, **change})
        assert response.status_code in (400, 404) and sentence in response.json()["error"]["message"], change
    for method, path in (("GET", "batch_none"), ("POST", "batch_none/cancel"), ("GET", "..%2fx")):
        assert served.http.request(method, f"/v1/batches/{path}").status_code == 404


def test_batches_are_listed_page_by_page(served: Running) -> None:
    made = [begin(served, [{"prompt": "a", "max_tokens": 1}]) for _ in range(3)]
    for batch in made:
        ended(served, batch)
    listed = [each.id for each in served.openai.batches.list(limit=2)]
    assert listed[:3] == [each.id for each in made[::-1]]
    error = served.http.get("/v1/batches", params={"after": "x"})
    assert error.status_code == 400


def test_a_batch_that_is_cancelled_keeps_what_is_done(served: Running) -> None:
    quick = [openai_line(f"q{n}", "completions", prompt=f"{n}", max_tokens=1) for n in range(20)]
    with slow(served):
        batch = begin(served, quick + endless(200))
        served.eventually(lambda: counts(served.openai.batches.retrieve(batch.id))[1] >= 20)
        assert served.openai.batches.cancel(batch.id).status in ("cancelling", "finalizing", "cancelled")
        batch = ended(served, batch)
    assert batch.status == "cancelled" and batch.cancelled_at and batch.cancelling_at
    total, completed, failed = counts(batch)
    assert (total, completed + failed) == (220, 220) and completed >= 20
    output, errors = text_of(served, batch.output_file_id), text_of(served, batch.error_file_id)
    assert len(output.splitlines()) == completed and len(errors.splitlines()) == failed > 0
    assert {json.loads(line)["error"]["code"] for line in errors.splitlines()} == {"batch_cancelled"}
    with pytest.raises(openai.BadRequestError, match="it cannot be cancelled"):
        served.openai.batches.cancel(batch.id)
    served.eventually(lambda: not served.llm._loop.scheduler.has_requests)


def test_a_batch_that_waits_is_cancelled_at_once(served: Running) -> None:
    with slow(served):
        first = begin(served, endless(50))
        served.eventually(lambda: status(served, first.id) == "in_progress")
        second = begin(served, endless(5))
        served.eventually(lambda: status(served, second.id) == "in_progress")
        served.openai.batches.cancel(second.id)
        assert ended(served, second).status == "cancelled"
        with pytest.raises(openai.BadRequestError, match="A batch reads"):
            served.openai.files.delete(first.input_file_id)
        served.openai.batches.cancel(first.id)
        ended(served, first)
    assert served.openai.files.delete(first.input_file_id).deleted


def test_a_batch_expires_with_its_window(served: Running) -> None:
    with slow(served):
        file = upload(served, endless(50)).id
        batch = served.openai.batches.create(
            input_file_id=file,
            endpoint="/v1/completions",
            completion_window="500ms",  # type: ignore[arg-type]
        )
        batch = ended(served, batch)
    assert batch.status == "expired" and batch.expired_at and counts(batch) == (50, 0, 50)
    errors = [json.loads(line) for line in text_of(served, batch.error_file_id).splitlines()]
    assert [(each["response"], each["error"]["code"]) for each in errors] == [(None, "batch_expired")] * 50


def test_a_batch_whose_files_have_no_room_ends() -> None:
    lines = endless(1500, 1)
    with with_jobs(all_bytes=len(content_of(lines)) + 20_000) as served:
        batch = ended(served, begin(served, lines))
        assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
        assert batch.errors.data[0].code == "quota_exceeded"
        _, completed, failed = counts(batch)
        assert len(text_of(served, batch.output_file_id).splitlines()) == completed > 0
        assert len(text_of(served, batch.error_file_id).splitlines()) == failed > 0


@pytest.mark.parametrize("cancel", [False, True])
def test_a_batch_outlives_its_server(cancel: bool, tmp_path: Path) -> None:
    lines = mixed_lines(60) + endless(8, 200)
    with with_jobs(folder=tmp_path / "files") as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        passes = slow(served)
        passes.__enter__()  # to the end of the server
        batch = begin(served, lines)
        served.eventually(lambda: counts(served.openai.batches.retrieve(batch.id))[1] > 0)
    with with_jobs(folder=tmp_path / "files") as served:
        if cancel:
            served.openai.batches.cancel(batch.id)
        batch = ended(served, batch)
        made = text_of(served, batch.output_file_id), text_of(served, batch.error_file_id)
    if cancel:
        assert batch.status == "cancelled" and counts(batch)[1] > 0 and made[0]
        assert sum(len(each.splitlines()) for each in made) == len(lines)
    else:
        assert batch.status == "completed" and made == unbroken(tmp_path, lines)
    left = {path.name.partition("-")[0].partition("_")[0] for path in (tmp_path / "files").glob("[!.]*")}
    assert left == {"file", "batch"} and not list((tmp_path / "files").glob("*.journal"))


def test_a_batch_does_not_go_on_with_another_model(tmp_path: Path) -> None:
    with with_jobs(folder=tmp_path / "files") as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        passes = slow(served)
        passes.__enter__()  # to the end of the server
        batch = begin(served, endless(20))
        served.eventually(lambda: served.llm._loop.scheduler.running > 0)
    options = EngineOptions(threads=1, ctx=64)
    with with_jobs(Models(known_models([EMBEDDED_NAME]), options), folder=tmp_path / "files") as served:
        batch = ended(served, batch)
        assert batch.status == "failed" and batch.errors is not None and batch.errors.data is not None
        assert batch.errors.data[0].code == "model_changed"


def test_lines_have_the_adapter_of_their_model(tmp_path: Path) -> None:
    (model,) = known_models([EMBEDDED_NAME])
    config = open_checkpoint(model.path).config
    for n, name in enumerate(("loud", "other"), 1):
        saved(tmp_path / name, random_adapter(config, n, scale=30.0), config)

    def models(folder: str) -> Models:
        return Models(with_adapters(model, [f"loud={tmp_path / folder}"]), EngineOptions(threads=1))

    asked: dict[str, Any] = {"prompt": "Once upon", "max_tokens": 8, "temperature": 0}
    loud, half = {"model": f"{EMBEDDED_NAME}:loud"}, {"lora": {"loud": 0.5}}
    lines = [
        openai_line("adapter", "completions", **asked, **loud),
        openai_line("scale", "completions", **asked, **loud, **half),
        openai_line("vector", "embeddings", input="Once", **loud),
        openai_line("unknown", "embeddings", input="Once", lora={"none": 1}),
    ]
    with with_jobs(models("loud"), folder=tmp_path / "files") as served:
        batch = ended(served, begin(served, lines))
        assert batch.model == loud["model"] and counts(batch) == (4, 3, 1)
        rows = [json.loads(line) for line in text_of(served, batch.output_file_id).splitlines()]
        one, scaled, vector = (row["response"]["body"] for row in rows)
        for got, fields in ((one, loud), (scaled, half)):
            expected = served.post("/v1/completions", {**asked, **fields}).json()["choices"][0]["text"]
            assert got["choices"][0]["text"] == expected
        assert one["choices"][0]["text"] != served.post("/v1/completions", asked).json()["choices"][0]["text"]
        assert vector["data"] == served.post("/v1/embeddings", {"input": "Once", **loud}).json()["data"]
        passes = slow(served)
        passes.__enter__()  # to the end of the server
        batch = begin(served, endless(20))
        served.eventually(lambda: served.llm._loop.scheduler.running > 0)
    with with_jobs(models("other"), folder=tmp_path / "files") as served:
        batch = ended(served, batch)
        assert batch.errors is not None and batch.errors.data is not None
        assert batch.errors.data[0].code == "model_changed"


def test_no_request_waits_behind_a_batch(served: Running) -> None:
    """A request takes as many passes as it takes alone, and one that may be running."""
    passes: list[set[bool]] = []
    schedule = served.llm._loop.scheduler.schedule

    def watched() -> Any:
        chunks = schedule()
        passes.append({chunk.request.background for chunk in chunks})
        return chunks

    with slow(served):
        batch = begin(served, endless(100))
        served.eventually(lambda: served.llm._loop.scheduler.running > 0)
        served.llm._loop.scheduler.schedule = watched  # type: ignore[method-assign]
        try:
            body = {"prompt": "The ship", "max_tokens": 8, "ignore_eos": True}
            assert served.post("/v1/completions", body).json()["usage"]["completion_tokens"] == 8
        finally:
            del served.llm._loop.scheduler.schedule  # type: ignore[method-assign]
        served.openai.batches.cancel(batch.id)
        assert ended(served, batch).status == "cancelled"
    urgent = [n for n, kinds in enumerate(passes) if False in kinds]
    assert len(urgent) == 8 and urgent == list(range(urgent[0], urgent[0] + 8))
    assert all(passes[n] == {False} for n in urgent)


def test_a_batch_gives_its_models_memory_to_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "AGAIN", 0.1)
    for name in ("a", "b"):
        (tmp_path / f"{name}.gguf").symlink_to(EMBEDDED_MODEL)
    memory = loaded_bytes(known("a", EMBEDDED_MODEL)) * 3 // 2
    models = Models(known_models([str(tmp_path / "a.gguf"), str(tmp_path / "b.gguf")]), policy=Policy(memory=memory))
    lines = [{**line, "model": "a"} for line in endless(6, 100)]
    with with_jobs(models, folder=tmp_path / "files") as served:
        served.eventually(lambda: served.models.loaded() != [])
        with slow(served):
            batch = begin(served, lines)
            served.eventually(lambda: served.llm._loop.scheduler.running > 0)
            body = {"prompt": "The ship", "max_tokens": 2, "model": "b"}
            assert served.post("/v1/completions", body).status_code == 200
        batch = ended(served, batch)
        assert batch.status == "completed" and counts(batch) == (6, 6, 0)
        assert text_of(served, batch.output_file_id) == unbroken(tmp_path, lines, model=tmp_path / "a.gguf")[0]


def test_what_batches_did_is_counted(served: Running) -> None:
    def counted() -> float:
        lines = served.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("sterna_generation_tokens_total"))

    before = counted()
    ended(served, begin(served, endless(3, 11)))
    assert counted() == before + 33


def test_batches_and_what_they_made_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "CLEANING", 0.05)
    with with_jobs(folder=tmp_path, seconds=3600) as served:
        batch = ended(served, begin(served, [{"prompt": "a", "max_tokens": 1}]))
        assert batch.status == "completed"
        for module in (files_module, batches_module):
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: time.time() + 3601))
        served.eventually(lambda: not list(tmp_path.glob("[!.]*")))
        assert served.http.get(f"/v1/batches/{batch.id}").status_code == 404
        assert served.http.get(f"/v1/files/{batch.input_file_id}").status_code == 404


def test_where_nothing_is_kept_the_server_does_not_clean_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned = []
    with with_jobs(seconds=0.0) as served:
        monkeypatch.setattr(files_module.Files, "remove_old", lambda files: cleaned.append(files))
        for _ in range(20):
            served.http.get("/health").raise_for_status()
    assert len(cleaned) <= 2


def test_a_server_cleans_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "CLEANING", 0.01)
    tried = []

    def fail(files: files_module.Files) -> None:
        tried.append(files)
        raise PermissionError

    monkeypatch.setattr(files_module.Files, "remove_old", fail)
    with with_jobs() as served:
        served.eventually(lambda: len(tried) > 2)


def test_ended_batches_make_room_for_new_ones(served: Running) -> None:
    with with_jobs(batches=2) as small:
        first, second = (ended(small, begin(small, [{"prompt": "a", "max_tokens": 1}])) for _ in range(2))
        third = ended(small, begin(small, [{"prompt": "a", "max_tokens": 1}]))
        assert [each.id for each in small.openai.batches.list()] == [third.id, second.id]
        small.post("/v1/completions", {"prompt": "a", "max_tokens": 1})
        with slow(small):
            running = [begin(small, endless(9)) for _ in range(2)]
            with pytest.raises(openai.RateLimitError, match="2 batches run or wait"):
                begin(small, endless(9))
            for each in running:
                small.openai.batches.cancel(each.id)
                ended(small, each)


def test_a_published_output_stays_where_the_errors_cannot_be_published(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = files_module.Files.publish

    async def failing(files: Any, id: str, filename: str, *more: Any) -> Any:
        if filename.endswith("_error.jsonl"):
            raise OSError(28, "No space left on device")
        return await publish(files, id, filename, *more)

    monkeypatch.setattr(files_module.Files, "publish", failing)
    batch = ended(served, begin(served, [{"prompt": "a", "max_tokens": 1}, b"{"]))
    assert batch.status == "failed" and batch.errors is not None and batch.error_file_id is None
    assert len(text_of(served, batch.output_file_id).splitlines()) == 1
