"""Many models in one server: names, memory, time."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sterna import LLM
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, NotFoundError
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.server import models as models_module
from sterna.server.errors import ApiError
from sterna.server.known import Known, cached_models, known, known_models
from sterna.server.models import Models
from sterna.server.served import Policy, loaded_bytes
from tests.helpers import DATA
from tests.server.conftest import Running, running
from tests.server.slow import slow

ONE: dict[str, Any] = {"prompt": "Once", "max_tokens": 4, "ignore_eos": True}
with LLM(threads=1) as model:
    SIZE = loaded_bytes(known("sterna-tern", EMBEDDED_MODEL)) + model.statistics.least_cache_bytes
    """Memory of one embedded model, with the cache of one text."""


@pytest.fixture
def three(tmp_path: Path) -> list[Known]:
    """Three models, which are the same one."""
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.gguf").symlink_to(EMBEDDED_MODEL)
    return known_models([str(tmp_path)])


def serve(given: list[Known], **policy: Any) -> Any:
    return running(Models(given, EngineOptions(threads=1), Policy(**policy)))


def ask(served: Running, model: str, **more: Any) -> Any:
    return served.post("/v1/completions", {**ONE, "model": model, **more})


def loaded(served: Running) -> list[str]:
    return sorted(each.name for each in served.models.loaded())


def test_a_folder_stands_for_its_models(tmp_path: Path) -> None:
    shutil.copy(EMBEDDED_MODEL, tmp_path / "one.gguf")
    (tmp_path / "inner").mkdir()
    shutil.copy(DATA / "tiny-llama-i2_s.gguf", tmp_path / "inner" / "two.gguf")
    (tmp_path / ".hidden").mkdir()
    shutil.copy(EMBEDDED_MODEL, tmp_path / ".hidden" / "three.gguf")
    (tmp_path / "notes.txt").write_text("no model")
    shutil.copy(EMBEDDED_MODEL, tmp_path / "four.gguf")
    assert sorted(each.name for each in known_models([str(tmp_path)])) == ["four", "one", "two"]
    assert [each.name for each in known_models([str(tmp_path / "inner")])] == ["two"]
    with pytest.raises(ArgumentError, match="Two models are called one"):
        known_models([str(tmp_path), str(tmp_path / "one.gguf")])
    with pytest.raises(NotFoundError):
        known_models([str(tmp_path / "nothing")])


def test_a_model_that_was_given_at_the_start_is_not_deleted_with_another_of_its_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models_module, "remove_cached", lambda reference: pytest.fail(f"{reference} was removed"))
    given, other = (known(f"org/many:{file}", EMBEDDED_MODEL, "org/many") for file in ("a.gguf", "b.gguf"))
    models = Models([given], cached=[other])
    for name in (other.name, given.name, ""):
        with pytest.raises(ApiError, match="org/many:a.gguf was given") as refused:
            asyncio.run(models.delete(name))
        assert refused.value.status == 403
    assert models.known() == [given, other]


def test_models_of_the_cache_are_known_and_loaded_when_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path))
    commit = "0" * 40
    for repo, files in (("org--one", ["m.gguf"]), ("org--many", ["q4_0.gguf", "q8_0.gguf"])):
        snapshot = tmp_path / f"models--{repo}" / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in files:
            shutil.copy(EMBEDDED_MODEL, snapshot / file)
        (tmp_path / f"models--{repo}" / "refs").mkdir()
        (tmp_path / f"models--{repo}" / "refs" / "main").write_text(commit)
    cached = cached_models()
    assert [each.name for each in cached] == ["org/many", "org/many:q4_0.gguf", "org/many:q8_0.gguf", "org/one"]
    given = [known("sterna-tern", EMBEDDED_MODEL)]
    with running(Models(given, EngineOptions(threads=1), cached=cached)) as served:
        names = [each["id"] for each in served.http.get("/v1/models").json()["data"]]
        assert names == ["sterna-tern", *(each.name for each in cached)]
        assert ask(served, "org/one").status_code == 200
        assert loaded(served) == ["org/one", "sterna-tern"]
        run = asyncio.run_coroutine_threadsafe
        served.models.copy("org/one", "mine")
        assert ask(served, "mine").status_code == 200
        run(served.models.delete("org/one"), served.loop).result()
        assert not (tmp_path / "models--org--one").exists() and (tmp_path / "models--org--many").exists()
        assert ask(served, "org/one").status_code == 404
        run(served.models.delete("mine"), served.loop).result()
        assert loaded(served) == ["sterna-tern"]
        with pytest.raises(Exception, match="given when the server was started"):
            run(served.models.delete("sterna-tern"), served.loop).result()


@pytest.mark.parametrize(
    "name", [str(EMBEDDED_MODEL), "../models/sterna-tern.gguf", "/etc/passwd", "a/b", "https://hf.co/a/b"]
)
def test_a_request_never_names_a_path(served: Running, name: str) -> None:
    assert ask(served, name).status_code == 404
    assert served.http.get(f"/v1/models/{name}").status_code == 404


def test_idle_models_make_room_for_others(three: list[Known]) -> None:
    """Two fit; each request is answered, and the model that was idle longest has gone."""
    with serve(three, memory=2 * SIZE) as served:
        expected = ask(served, "a", seed=1).json()["choices"][0]["text"]
        for name in "bcabcacb":
            response = ask(served, name, seed=1)
            assert response.json()["choices"][0]["text"] == expected
            assert len(loaded(served)) <= 2 and name in loaded(served)
        assert sum(each.bytes for each in served.models.loaded()) <= 2 * SIZE
        assert loaded(served) == ["b", "c"]
        ask(served, "c")
        ask(served, "a")
        assert loaded(served) == ["a", "c"]


def test_caches_stay_within_the_memory(three: list[Known]) -> None:
    """Two models serve more texts together than their memory has room for. All are answered, as they are alone."""
    with serve(three, memory=2 * SIZE + SIZE // 2) as served, ThreadPoolExecutor(12) as pool:
        ask(served, "a")
        ask(served, "b")
        least = served.llm.statistics.least_cache_bytes
        bodies = [{"max_tokens": -1, "prompt": [5 + n] * 40, "seed": n} for n in range(4)]
        alone = [ask(served, "a", **body).json()["choices"][0]["text"] for body in bodies]
        asked = [pool.submit(ask, served, name, **body) for body in bodies for name in "ab"]
        assert [each.result().json()["choices"][0]["text"] for each in asked] == [text for text in alone for _ in "ab"]
        models = served.models.loaded()
        assert sum(each.bytes for each in models) <= 2 * SIZE + SIZE // 2
        assert all(each.llm.statistics.cache_bytes > least // 2 for each in models)
        assert any(each.llm.statistics.preemptions for each in models)
        served.http.post("/api/generate", json={"model": "a", "keep_alive": 0})
        served.eventually(lambda: loaded(served) == ["b"])
        for body in bodies:  # the other one may have it all
            ask(served, "b", **body)
        served.eventually(lambda: served.models.loaded()[0].cache_bytes > least)


def test_a_pinned_model_stays(three: list[Known]) -> None:
    with serve(three, memory=2 * SIZE, pinned=["b"], keep_alive=0.0) as served:
        for name in "acacac":
            assert ask(served, name).status_code == 200
            assert "b" in loaded(served)
    with pytest.raises(ArgumentError, match="no model 'd' to pin"):
        Models(three, policy=Policy(pinned=["d"]))


def test_a_model_that_serves_is_never_unloaded(three: list[Known]) -> None:
    """The other one waits, is told to come again, and is served when the first has become idle."""
    with serve(three, memory=SIZE, patience=0.1) as served:
        ask(served, "a")
        with ThreadPoolExecutor(1) as pool:
            with slow(served):
                answer = pool.submit(ask, served, "a", max_tokens=40)
                served.eventually(lambda: served.llm.statistics.running == 1)
                refused = ask(served, "b")
                assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
                assert loaded(served) == ["a"]
            assert answer.result().json()["usage"]["completion_tokens"] == 40
        served.eventually(lambda: ask(served, "b").status_code == 200)
        assert loaded(served) == ["b"]


def test_a_model_larger_than_the_memory_is_an_error(three: list[Known]) -> None:
    with serve(three, memory=SIZE // 2) as served:
        response = ask(served, "a")
        assert response.status_code == 500 and response.json()["error"]["code"] == "model_too_large"
        assert served.http.get("/ready").status_code == 503


def test_loading_blocks_neither_health_nor_other_models(three: list[Known], monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, opened = threading.Event(), models_module._open

    def slowly(known: Known, options: EngineOptions | None) -> Any:
        if known.name == "b":
            go_on.wait()
        return opened(known, options)

    monkeypatch.setattr(models_module, "_open", slowly)
    with serve(three[:2]) as served:
        assert ask(served, "a").status_code == 200
        assert served.http.get("/ready").status_code == 200 and served.http.get("/health").status_code == 200
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, served, "b")
            assert ask(served, "a").status_code == 200
            go_on.set()
            assert waiting.result().status_code == 200


def test_a_model_that_is_unloaded_while_it_is_loaded_is_closed_before_the_next_one_is_opened(
    three: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, opened = threading.Event(), models_module._open
    llms: dict[str, Any] = {}
    seen: list[str] = []
    """What there is of `a` when `b` is opened."""

    def slowly(known: Known, options: EngineOptions | None) -> Any:
        if known.name == "b":
            seen.append(repr(llms.get("a")))
        elif not go_on.wait(60):
            raise TimeoutError
        llms[known.name] = opened(known, options)
        return llms[known.name]

    monkeypatch.setattr(models_module, "_open", slowly)
    models = Models(three[:1], EngineOptions(threads=1), cached=three[1:])
    with running(models) as served, ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(ask, served, "a")
        served.eventually(lambda: models._memory.users["a"] == 1)
        unloading = asyncio.run_coroutine_threadsafe(served.models.unload("a"), served.loop)
        served.eventually(lambda: not models._loads)
        other = pool.submit(ask, served, "b")
        served.eventually(lambda: models._memory.users["b"] == 1)
        go_on.set()
        unloading.result()
        assert waiting.result().json()["error"]["code"] == "model_unloaded"
        assert other.result().status_code == 200
    assert len(seen) == 1 and seen[0].endswith(", closed>")


def test_health_is_there_before_models_are(three: list[Known], monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, opened = threading.Event(), models_module._open
    monkeypatch.setattr(models_module, "_open", lambda *given: go_on.wait() and opened(*given))
    with serve(three) as served:
        assert served.http.get("/health").json() == {"status": "ok"}
        ready = served.http.get("/ready")
        assert (
            ready.status_code == 503 and ready.json() == {"status": "loading"} and ready.headers["retry-after"] == "1"
        )
        go_on.set()
        served.eventually(lambda: served.http.get("/ready").status_code == 200)


def test_an_idle_model_is_unloaded_after_its_time(three: list[Known]) -> None:
    with serve(three[:1], keep_alive=0.3) as served:
        assert ask(served, "a").status_code == 200
        expires = served.models.loaded()[0].expires
        assert abs(expires - time.time() - 0.3) < 30
        served.eventually(lambda: loaded(served) == [])
        assert ask(served, "a").status_code == 200


def test_a_request_may_say_how_long_its_model_stays(three: list[Known]) -> None:
    async def use(keep_alive: float) -> None:
        async with served.models.use("a", keep_alive):
            pass

    with serve(three[:1], keep_alive=0.1) as served:
        asyncio.run_coroutine_threadsafe(use(1000), served.loop).result()
        time.sleep(0.3)
        assert loaded(served) == ["a"]
        asyncio.run_coroutine_threadsafe(use(0), served.loop).result()
        served.eventually(lambda: loaded(served) == [])


def test_a_model_of_broken_numbers_is_not_served(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The known-answer check: a file was overwritten by what is no number after the server knew it."""
    data = bytearray(EMBEDDED_MODEL.read_bytes())
    data[-(1 << 20) :] = b"\xff" * (1 << 20)
    (tmp_path / "broken.gguf").write_bytes(data)
    with serve([known("broken", tmp_path / "broken.gguf")]) as served:
        response = ask(served, "broken")
        assert response.status_code == 500 and response.json()["error"]["code"] == "model_broken"
        (failure,) = (record for record in caplog.records if record.message == "not loaded")
        assert failure.model == "broken" and "broken.gguf" in failure.reason
