"""Adapters on the command line, in merged models and over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint.convert import convert
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.evaluate.perplexity import evaluate_tokens, read_tokens
from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
from sterna.server.known import known_models, with_adapters
from sterna.server.models import Models
from sterna.server.served import Policy, loaded_bytes

from ..command import sterna
from ..helpers import DATA, relative_error
from ..server.conftest import Running, running
from .random_adapters import adapted_oracle, random_adapter, saved

LLAMA = DATA / "tiny-llama-i2_s.gguf"
IDS = list(range(40))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Adapters of the embedded model (`loud`, `quiet`) and of LLAMA (`llama`)."""
    folder = tmp_path_factory.mktemp("adapters")
    with LLM() as embedded, LLM(LLAMA) as llama:
        configs = embedded.checkpoint.config, llama.checkpoint.config
    yield {
        "loud": saved(folder / "loud", random_adapter(configs[0], 1, scale=3.0), configs[0]),
        "quiet": saved(folder / "quiet", random_adapter(configs[0], 2, ("attn_v",), scale=1.0), configs[0]),
        "llama": saved(folder / "llama", random_adapter(configs[1], 3, scale=0.5), configs[1]),
    }


def test_run_takes_adapters_with_scales(folders: dict[str, Path]) -> None:
    texts = {}
    with LLM(adapters={"a": folders["loud"], "b": folders["quiet"]}) as llm:
        for flags, adapter in (
            ([], None),
            (["--lora", str(folders["loud"])], "a"),
            (["--lora", f"{folders['loud']}=0.5", "--lora", f"{folders['quiet']}=-1"], {"a": 0.5, "b": -1.0}),
        ):
            result = sterna("run", "-p", "Once", "-n", "8", "--temp", "0", "--json", *flags)
            assert result.returncode == 0, result.stderr
            texts[str(adapter)] = json.loads(result.stdout)["text"]
            assert texts[str(adapter)] == llm.generate("Once", max_tokens=8, temperature=0, adapter=adapter)
    assert len(set(texts.values())) > 1


def test_eval_takes_adapters(folders: dict[str, Path], tmp_path: Path) -> None:
    text, tasks = tmp_path / "text.txt", tmp_path / "task.jsonl"
    text.write_text("It was a dark and stormy night; the rain fell.")
    tasks.write_text('{"context": "It was", "continuation": " a dark night"}\n' * 2)
    lora = ("--lora", f"{folders['loud']}=0.5")
    with LLM(adapters={"a": folders["loud"]}) as llm:
        tokens, size = read_tokens(llm, [text.read_text()])
        expected = evaluate_tokens(llm, tokens, size, adapter={"a": 0.5}).bits_per_byte
        assert expected != evaluate_tokens(llm, tokens, size).bits_per_byte
    scored = sterna("eval", "--text", str(text), "--json", *lora)
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["bits_per_byte"] == expected
    keep = ("--keep", str(tmp_path / "kept"))
    with_adapter, again = (sterna("eval", "--tasks", str(tasks), "--json", *lora, *keep) for _ in range(2))
    assert with_adapter.returncode == 0, with_adapter.stderr
    assert with_adapter.stdout == again.stdout != sterna("eval", "--tasks", str(tasks), "--json").stdout
    other = sterna("eval", "--tasks", str(tasks), "--json", *keep)
    assert other.returncode != 0 and "Traceback" not in other.stderr


def test_wrong_adapters_of_the_command_line_are_one_sentence(folders: dict[str, Path], tmp_path: Path) -> None:
    for flag, words in (
        (f"{folders['loud']}=much", "no number"),
        (str(tmp_path / "nothing"), "not there"),
        (str(folders["llama"]), "another model"),
    ):
        result = sterna("run", "-p", "Once", "-n", "1", "--lora", flag)
        assert result.returncode == (2 if "much" in flag else 1) and words in result.stderr
        assert "Traceback" not in result.stderr


def test_chat_answers_with_adapters(folders: dict[str, Path]) -> None:
    told = [
        sterna("chat", "-n", "8", "--temp", "0", *flags, stdin="Hello\n")
        for flags in ([], ["--lora", str(folders["loud"])], ["--lora", f"{folders['loud']}=0"])
    ]
    assert all(result.returncode == 0 for result in told), told
    assert told[0].stdout == told[2].stdout != told[1].stdout


def test_adapters_are_converted_on_the_command_line(folders: dict[str, Path], tmp_path: Path) -> None:
    base, file, back = str(EMBEDDED_MODEL), tmp_path / "x.gguf", tmp_path / "back"
    for src, dst in ((folders["loud"], file), (file, back)):
        result = sterna("convert", str(src), str(dst), "--base", base)
        assert result.returncode == 0 and str(dst) in result.stdout, result.stderr
    with LLM(activations="float", kv="f32", adapters={"a": folders["loud"], "b": back}) as llm:
        assert relative_error(llm.logits(IDS, adapter="a"), llm.logits(IDS, adapter="b")) < 1e-5
    result = sterna("convert", str(folders["loud"]), str(tmp_path / "y.gguf"), "--base", base, "--type", "f16")
    assert result.returncode == 2 and "--type is for models" in result.stderr
    result = sterna("convert", str(folders["loud"]), str(tmp_path / "y.gguf"))
    assert result.returncode == 2 and "with --base" in result.stderr


@pytest.mark.parametrize("type, tolerance", [("f32", 1e-5), ("f16", 5e-3), ("q8_0", 5e-2)])
def test_merging_adds_in_float(type: str, tolerance: float, folders: dict[str, Path], tmp_path: Path) -> None:
    convert(LLAMA, tmp_path / "merged.gguf", type=type, lora={str(folders["llama"]): 0.5})
    with LLM(LLAMA) as llm:
        checkpoint = llm.checkpoint
    adapter = random_adapter(checkpoint.config, 3, scale=0.5)
    expected = adapted_oracle(checkpoint, [(adapter, 0.5)], activations="none", kv_dtype=np.float32).logits(IDS)
    with LLM(tmp_path / "merged.gguf", kv="f32") as llm:
        assert relative_error(expected, llm.logits(IDS)) < tolerance
    convert(LLAMA, tmp_path / "folder", type="f16", lora={str(folders["llama"]): 0.5})
    with LLM(tmp_path / "folder", kv="f32") as llm:
        assert relative_error(expected, llm.logits(IDS)) < 5e-3


def test_an_adapter_of_a_tied_head_makes_a_head_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    lora = {str(folders["loud"]): 1.0}
    convert(EMBEDDED_MODEL, tmp_path / "folder", type="f32", head="f32", lora=lora)
    with (
        LLM(tmp_path / "folder", kv="f32") as merged,
        LLM(activations="float", kv="f32", adapters={"a": folders["loud"]}) as llm,
    ):
        assert not merged.checkpoint.config.tied_head
        assert relative_error(llm.logits(IDS, adapter="a"), merged.logits(IDS)) < 1e-2
    with pytest.raises(UnsupportedError, match="head of its own"):
        convert(EMBEDDED_MODEL, tmp_path / "x.gguf", type="f16", lora=lora)


@pytest.mark.parametrize("type", [None, "i2_s", "tq2_0", "tq1_0", "q4_0"])
def test_merging_never_makes_ternary(type: str | None, folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="worse than leaving the adapter out"):
        convert(LLAMA, tmp_path / "merged.gguf", type=type, lora={str(folders["llama"]): 1.0})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> Iterator[Running]:
    (model,) = known_models([EMBEDDED_NAME])
    known = with_adapters(model, [f"loud={folders['loud']}", f"quiet={folders['quiet']}"])
    with running(Models(known, EngineOptions(threads=1))) as server:
        server.http.post("/v1/completions", json={"prompt": "a", "max_tokens": 1}).raise_for_status()
        yield server


def text_of(served: Running, **fields: object) -> str:
    body = {"prompt": "Once upon", "max_tokens": 8, "temperature": 0, **fields}
    text: str = served.post("/v1/completions", body).raise_for_status().json()["choices"][0]["text"]
    return text


def test_each_adapter_is_a_model_and_a_field(served: Running) -> None:
    names = [each["id"] for each in served.http.get("/v1/models").json()["data"]]
    loud, quiet = f"{EMBEDDED_NAME}:loud", f"{EMBEDDED_NAME}:quiet"
    assert names[:3] == [EMBEDDED_NAME, loud, quiet]
    expected = {
        str(adapter): served.llm.generate("Once upon", max_tokens=8, temperature=0, adapter=adapter)
        for adapter in (None, "loud", {"loud": 0.5, "quiet": 1.0})
    }
    assert text_of(served) == text_of(served, model=EMBEDDED_NAME, lora={}) == expected["None"]
    assert text_of(served, model=loud) == text_of(served, lora={"loud": 1}) == expected["loud"]
    both = {"loud": 0.5, "quiet": 1.0}
    assert text_of(served, lora=both) == text_of(served, model=quiet, lora={"loud": 0.5}) == expected[str(both)]
    assert text_of(served, model=loud, lora={"loud": 0}) == expected["None"]
    assert len(served.models.loaded()) == 1
    reply = served.post("/v1/chat/completions", {"model": loud, "messages": [{"role": "user", "content": "a"}]}).json()
    assert reply["model"] == loud
    vectors = [
        served.post("/v1/embeddings", {"input": "Once", **fields}).json()["data"][0]["embedding"]
        for fields in ({"model": loud}, {"lora": {"loud": 1}}, {})
    ]
    assert vectors[0] == vectors[1] != vectors[2]


def test_requests_name_adapters_and_never_paths(served: Running, folders: dict[str, Path]) -> None:
    for lora in ({str(folders["loud"]): 1.0}, {"../loud": 1}, {"loud": 1e9}, {"loud": "x"}, ["loud"]):
        response = served.post("/v1/completions", {"prompt": "a", "lora": lora})
        assert response.status_code in (400, 422), response.text
    response = served.post("/v1/completions", {"prompt": "a", "model": f"{EMBEDDED_NAME}:{folders['loud']}"})
    assert response.status_code == 404


@pytest.mark.parametrize("text", ["loud", "=x", "loud=", " =x"])
def test_adapters_of_a_server_have_names(text: str) -> None:
    (model,) = known_models([EMBEDDED_NAME])
    with pytest.raises(ArgumentError, match="NAME=PATH"):
        with_adapters(model, [text])


def test_a_model_is_pinned_loaded_and_unloaded_by_the_name_of_its_adapter(folders: dict[str, Path]) -> None:
    (model,) = known_models([EMBEDDED_NAME])
    loud = f"{EMBEDDED_NAME}:loud"
    known = with_adapters(model, [f"loud={folders['loud']}"])
    assert (
        loaded_bytes(known[0]) - loaded_bytes(model) == (folders["loud"] / "adapter_model.safetensors").stat().st_size
    )
    with running(Models(known, EngineOptions(threads=1, ctx=64))) as server:

        def ps() -> dict[str, bool]:
            listed = server.http.get("/api/ps").raise_for_status().json()["models"]
            return {each["name"].removesuffix(":latest"): each["size"] > 0 for each in listed}

        server.post("/api/generate", {"model": loud}).raise_for_status()
        assert ps() == {EMBEDDED_NAME: True, loud: False}
        assert server.post("/api/show", {"model": loud}).json()["parameters"] == "num_ctx 64"
        server.post("/api/generate", {"model": loud, "keep_alive": 0}).raise_for_status()
        server.eventually(lambda: not ps())
    with running(Models(known, EngineOptions(threads=1), Policy(pinned=[loud], keep_alive=0.0))) as server:
        text_of(server, model=loud)
        (loaded,) = server.models.loaded()
        assert loaded.expiry is None


def test_a_broken_model_of_a_folder_is_opened_only_for_adapters(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b.gguf").symlink_to(EMBEDDED_MODEL)
    first, _ = known_models([str(tmp_path)])
    assert first.name == "a" and with_adapters(first, []) == [first]
    with pytest.raises(FormatError):
        with_adapters(first, [f"loud={folders['loud']}"])
