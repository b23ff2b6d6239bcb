"""Models as people's folders have them: what transformers opens, Sterna opens with the same logits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, FormatError, ModelWarning, NotFoundError, SternaError, UnsupportedError
from sterna.files.hub.repo_files import choose
from sterna.tensor.encodings import Encoding, TernaryBlocks, TernaryTiles
from sterna.tensor.summary import one_value
from sterna.tensor.tensor import Tensor

from ..helpers import DATA
from ..test_hf_folder import stored
from ..test_hf_folder import write as write_packed
from ..tiny_vocabularies import byte_level_json
from ..tl_files import tl_data

GGUF = DATA / "tiny-bitnet-b158-i2_s.gguf"
torch = pytest.importorskip("torch")
from safetensors.torch import save_file, save_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from ..hf_folders import quantization, random_model, save  # noqa: E402

Tensors = dict[str, Any]
INDEX = "model.safetensors.index.json"
ONE_BIT_LLM = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FREQUENCIES = "model.layers.0.self_attn.rotary_emb.inv_freq"


def tied(folder: Path, **keys: Any) -> tuple[Any, Tensors]:
    """A model whose head is its embedding, its `config.json` in `folder`, and its tensors without the head."""
    model = random_model("LlamaForCausalLM", "grouped", **{"tie_word_embeddings": True} | keys)
    (folder / "config.json").write_text(json.dumps(model.config.to_dict() | {"architectures": ["LlamaForCausalLM"]}))
    tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return model, {name: value for name, value in tensors.items() if name != "lm_head.weight"}


def write(tensors: Tensors, path: Path, **metadata: str) -> None:
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"} | metadata)


def write_shards(folder: Path, tensors: Tensors, change: Callable[[dict[str, str], list[str]], object]) -> list[str]:
    """Two shards and their index, which `change` changes: its weight_map, and the names of the shards."""
    names, weight_map = sorted(tensors), {}
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for shard, part in zip(shards, (names[: len(names) // 2], names[len(names) // 2 :]), strict=True):
        write({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    change(weight_map, shards)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return shards


def assert_logits(folder: Path, model: Any = None) -> None:
    """Sterna's logits of the folder are those of `model`, by default of what transformers reads from it."""
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32) if model is None else model
    with torch.no_grad():
        expected = theirs(torch.tensor([[1, 2, 3]])).logits[0].float().numpy()
    assert np.abs(LLM(folder, threads=1, kv="f32").logits([1, 2, 3]) - expected).max() < 1e-4


def test_save_model_keeps_the_head_and_not_the_embedding(tmp_path: Path) -> None:
    model, _ = tied(tmp_path)
    save_model(model, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    assert_logits(tmp_path, model)


def test_shared_tensors_are_found_by_the_name_in_the_metadata(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path, tie_word_embeddings=False)
    head = tensors.pop("model.embed_tokens.weight")
    names = {"model.embed_tokens.weight": "lm_head.weight"}
    write(tensors | {"lm_head.weight": head}, tmp_path / "model.safetensors", **names)
    model.lm_head.weight = model.model.embed_tokens.weight
    assert_logits(tmp_path, model)


def test_a_tied_matrix_under_the_heads_name_needs_no_metadata(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    write(tensors, tmp_path / "model.safetensors")
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tied_head_that_is_there_again_is_the_embedding(tmp_path: Path, dtype: Any) -> None:
    model, tensors = tied(tmp_path)
    embedding = tensors["model.embed_tokens.weight"].bfloat16().float()
    model.model.embed_tokens.weight.data.copy_(embedding)
    write(tensors | {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding.to(dtype, copy=True)},
          tmp_path / "model.safetensors")  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        assert open_checkpoint(tmp_path).config.tied_head
    assert_logits(tmp_path, model)


def test_a_tied_head_with_other_values_is_used_with_a_warning(tmp_path: Path) -> None:
    _, tensors = tied(tmp_path)
    write(tensors | {"lm_head.weight": torch.randn(160, 64)}, tmp_path / "model.safetensors")
    with pytest.warns(ModelWarning, match="other values"):
        assert_logits(tmp_path)
    with pytest.warns(ModelWarning):
        convert(tmp_path, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["tie_word_embeddings"] is False
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        assert not open_checkpoint(tmp_path / "again").config.tied_head


def test_a_whole_file_goes_before_a_stale_index(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path)
    write(tensors, tmp_path / "model.safetensors")
    index = {"weight_map": {name: "model-00001-of-00030.safetensors" for name in tensors}}
    for text in (json.dumps(index), "{", ""):
        (tmp_path / INDEX).write_text(text)
        assert_logits(tmp_path, model)


PROMISES: dict[str, Callable[[dict[str, str], list[str]], object]] = {
    "the tied head": lambda weight_map, shards: weight_map.update({HEAD: shards[1]}),
    "the embedding of a tied head": lambda weight_map, shards: weight_map.update({EMBEDDING: shards[0]}),
    "frequencies": lambda weight_map, shards: weight_map.update({FREQUENCIES: shards[0]}),
    "the other shard": lambda weight_map, shards: weight_map.update({"model.norm.weight": shards[0]}),
    "one less": lambda weight_map, shards: weight_map.pop("model.norm.weight"),
    "a path": lambda weight_map, shards: weight_map.update({"model.norm.weight": "./" + shards[1]}),
}


@pytest.mark.parametrize("promise", PROMISES)
def test_the_index_says_which_files_and_the_files_say_which_tensors(tmp_path: Path, promise: str) -> None:
    model, tensors = tied(tmp_path)
    if promise == "the embedding of a tied head":
        tensors[HEAD] = tensors.pop(EMBEDDING)
    write_shards(tmp_path, tensors, PROMISES[promise])
    write({"model.norm.weight": torch.zeros(64)}, tmp_path / "model-00003-of-00003.safetensors")  # left over
    write({"stray": torch.zeros(1)}, tmp_path / "consolidated.safetensors")
    (tmp_path / "optimizer.bin").write_bytes(b"pickle")
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


def test_a_head_that_is_promised_but_not_tied_is_missed(tmp_path: Path) -> None:
    _, tensors = tied(tmp_path, tie_word_embeddings=False)
    write_shards(tmp_path, tensors, lambda weight_map, shards: weight_map.update({"lm_head.weight": shards[0]}))
    refused(tmp_path, FormatError, "promises a tensor 'lm_head.weight'")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {}}))
    refused(tmp_path, FormatError, "weight_map")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    _, tensors = tied(tmp_path)
    shards = write_shards(tmp_path, tensors, lambda weight_map, shards: None)
    (tmp_path / shards[1]).rename(tmp_path / (shards[1] + ".incomplete"))
    with pytest.raises(NotFoundError, match=f"{shards[1]} is missing, one of 2 files"):
        open_checkpoint(tmp_path)
    (tmp_path / shards[1]).symlink_to(tmp_path / "blobs" / "gone")
    with pytest.raises(NotFoundError, match=f"{shards[1]} is missing"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("bare", [["embed_tokens", "layers", "norm"], ["layers.1", "norm"]])
def test_model_before_names_may_be_left_out(tmp_path: Path, bare: list[str]) -> None:
    model, tensors = tied(tmp_path, tie_word_embeddings=False)
    renamed = {}
    for name, tensor in tensors.items():
        body = name.removeprefix("model.")
        renamed[body if body.startswith(tuple(bare)) else name] = tensor
    write(renamed | {"lm_head.weight": model.lm_head.weight.detach()}, tmp_path / "model.safetensors")
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


@pytest.mark.parametrize("architecture", ["Llama", "Mistral", "Qwen3", "BitNet"])
def test_a_body_that_was_saved_alone_is_a_model(tmp_path: Path, architecture: str) -> None:
    keys = {"head_dim": 16, "sliding_window": 2} if architecture == "Mistral" else {"head_dim": 16}
    body = random_model(f"{architecture}ForCausalLM", "grouped", **keys).model
    body.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = body(torch.tensor([[1, 2, 3]])).last_hidden_state[0].numpy()
    assert np.abs(LLM(tmp_path, threads=1, kv="f32").hidden([1, 2, 3]) - expected).max() < 1e-4


def test_a_model_that_was_saved_inside_another_has_model_twice(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path, tie_word_embeddings=False)
    tensors[HEAD] = model.lm_head.weight.detach()
    write({f"model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


def test_types_may_be_mixed(tmp_path: Path) -> None:
    _, tensors = tied(tmp_path)
    types = [torch.float32, torch.bfloat16, torch.float16]
    write({name: value.to(types[i % 3]) for i, (name, value) in enumerate(tensors.items())},
          tmp_path / "model.safetensors")  # fmt: skip
    assert_logits(tmp_path)


INDEXED = ["config.json", INDEX]


@pytest.mark.parametrize(
    ("files", "weights"),
    [
        (["model-00001-of-000002.safetensors", "model-00002-of-000002.safetensors"], slice(None)),
        (
            [f"model-{number:05}-of-{count:05}.safetensors" for count, number in ((2, 1), (2, 2), (3, 1), (3, 3))],
            slice(2),
        ),
        (["model-00001-of-00001.safetensors", "adapter_model.safetensors", "optimizer.safetensors"], slice(1)),
        (["model-00001-of-00001.safetensors", "original/model-00001-of-00001.safetensors"], slice(1)),
        (["model.safetensors", "model-00001-of-00002.safetensors", "consolidated.safetensors"], slice(1)),
    ],
)
def test_shards_of_a_listing_are_those_that_belong_together(files: list[str], weights: slice) -> None:
    choice = choose(INDEXED + files, None, "org/x")
    assert list(choice.weights) == files[weights] and choice.complete and choice.entry == ""


def test_an_index_decides_about_the_shards_of_a_listing() -> None:
    files = [*INDEXED, "a/1.safetensors", "b.safetensors", "model-00001-of-00001.safetensors"]
    index = {"weight_map": {"x": "a/1.safetensors", "y": "b.safetensors"}}
    choice = choose(files, None, "org/x", lambda: index)
    assert choice.weights == ("a/1.safetensors", "b.safetensors") and choice.complete
    assert not choose(files[:3], None, "org/x", lambda: index).complete
    with pytest.raises(FormatError, match="no file beside it"):
        choose(files, None, "org/x", lambda: {"weight_map": {"x": "../b.safetensors"}})


@pytest.mark.parametrize(
    "files",
    [
        ["gemma-3-1b-it-Q5_K_S.gguf", "mmproj-model-f16.gguf"],
        ["m-Q4_1.gguf", "m.imatrix-bf16.gguf"],
        ["m-Q4_1.gguf", "m-lora-f16.gguf"],
        ["m-Q4_1.gguf", "m-draft-Q4_0.gguf", "mtp-m.gguf", "ggml-vocab-llama-bpe.gguf"],
        ["m-DRAFT-0.5B.gguf"],
        ["sub/m-iq3_s-00001-of-00002.gguf", "sub/m-iq3_s-00002-of-00002.gguf", "sub/mmproj.gguf"],
    ],
)
def test_companions_are_no_candidates(files: list[str]) -> None:
    assert choose(files, None, "org/x").entry == files[0]


def test_companions_alone_are_no_model() -> None:
    with pytest.raises(NotFoundError, match="only mmproj-f16.gguf"):
        choose(["mmproj-f16.gguf", "adapter_model.safetensors", "pytorch_model.bin"], None, "org/x")
    assert choose(["a.gguf", "mmproj-f16.gguf"], "mmproj-f16.gguf", "org/x").entry == "mmproj-f16.gguf"


def test_a_listing_gives_all_that_says_how_a_text_ends() -> None:
    small = ["config.json", "tokenizer.json", "generation_config.json", "tokenizer_config.json"]
    small += ["special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json"]
    small += ["1_Pooling/config.json", "additional_chat_templates/rag.jinja"]
    other = ["vocab.json", "merges.txt", "README.md", "additional_chat_templates/x.bin", "pytorch_model.bin"]
    assert sorted(choose([*small, *other, "model.safetensors"], None, "org/x").small) == sorted(small)
    pieces = ["config.json", "vocab.json", "merges.txt"]
    assert list(choose([*pieces, "model.safetensors"], None, "org/x").small) == pieces


def refused(path: str | Path, error: type[SternaError], *words: str) -> None:
    """Opening `path` raises one sentence that has these words."""
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    sentence = str(caught.value)
    assert all(word in sentence for word in words) and sentence.endswith(".") and "\n" not in sentence, sentence


def test_a_folder_of_one_gguf_model_is_that_model(tmp_path: Path) -> None:
    for file in ("m-i2_s.gguf", "mmproj-m.gguf", "m.imatrix.gguf", "m-lora.gguf"):
        (tmp_path / file).write_bytes(GGUF.read_bytes())
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("#")
    assert open_checkpoint(tmp_path).path == tmp_path / "m-i2_s.gguf"
    assert Tokenizer(tmp_path).vocab_size == 512
    assert (
        open_checkpoint(f"{tmp_path}/").path == open_checkpoint(f"file://{tmp_path}").path == tmp_path / "m-i2_s.gguf"
    )
    (tmp_path / "n-i2_s.gguf").write_bytes(GGUF.read_bytes())
    refused(tmp_path, ArgumentError, "several models", "m-i2_s.gguf, n-i2_s.gguf")


def test_a_folder_of_a_split_model_is_that_model(tmp_path: Path) -> None:
    report = convert(GGUF, tmp_path / "m.gguf", split_bytes=1 << 16)
    assert len(report.files) > 1 and open_checkpoint(tmp_path).load().config.vocab_size == 512
    assert open_checkpoint(report.files[-1]).load().config.vocab_size == 512
    report.files[1].unlink()
    refused(tmp_path, NotFoundError, f"{report.files[1]}", "is missing")


def test_companions_under_other_names_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    from sterna.files.gguf.writer import write_gguf

    (tmp_path / "m.gguf").write_bytes(GGUF.read_bytes())
    for file, kind in (("vision.gguf", "mmproj"), ("style.gguf", "adapter"), ("calibration.gguf", "imatrix")):
        write_gguf(tmp_path / file, {"general.architecture": "bitnet", "general.type": kind}, [])
        refused(tmp_path / file, UnsupportedError, "not a model")
    assert open_checkpoint(tmp_path).path == tmp_path / "m.gguf"
    write_gguf(tmp_path / "odd.gguf", {"general.architecture": ["x", "y"], "general.type": [1, 2]}, [])
    refused(tmp_path / "odd.gguf", UnsupportedError, "architecture")
    (tmp_path / "m.gguf").unlink()
    refused(tmp_path, NotFoundError, "companions", "style.gguf")


def test_any_file_of_a_model_stands_for_its_folder(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path)
    shards = write_shards(tmp_path, tensors, lambda weight_map, shards: None)
    for file in ("config.json", INDEX, *shards):
        assert_logits(tmp_path / file, model)
    write({"lora": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    refused(tmp_path / "adapter_model.safetensors", FormatError, "adapter_model.safetensors", "no model that")
    (tmp_path / "config.json").unlink()
    refused(tmp_path / shards[0], FormatError, "config.json")
    refused(tmp_path, NotFoundError, "no config.json")


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ([], NotFoundError, "is empty"),
        (["notes.txt"], NotFoundError, "no model that Sterna reads"),
        (["adapter_config.json", "adapter_model.safetensors"], UnsupportedError, "an adapter"),
        (["config.json", "pytorch_model.bin"], UnsupportedError, "pytorch_model.bin, and Sterna reads no pickles"),
        (["consolidated.00.pth"], UnsupportedError, "no pickles"),
        (["model.safetensors"], NotFoundError, "no config.json"),
        (["config.json", "model-00001-of-00002.safetensors"], NotFoundError, "model.safetensors.index.json"),
        (["config.json", "consolidated.safetensors"], NotFoundError, "model.safetensors"),
        (["config.json"], NotFoundError, "neither model.safetensors nor"),
        (["tokenizer.json", "data.json", "train.bin"], NotFoundError, "no checkpoint yet"),
        (["run/hf/config.json", "run/hf/model.safetensors"], NotFoundError, "run/hf"),
        (["snapshots/0123/m.gguf"], NotFoundError, "snapshots/0123/m.gguf"),
    ],
)
def test_what_a_folder_holds_in_place_of_a_model(
    tmp_path: Path, files: list[str], error: type[SternaError], words: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    refused(tmp_path, error, words, str(tmp_path))


def test_the_output_of_a_training_run_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "train.bin").write_bytes(b"tokens")
    convert(GGUF, tmp_path / "hf")
    (tmp_path / "run.gguf").write_bytes(GGUF.read_bytes())
    assert open_checkpoint(tmp_path).kind == "gguf"
    (tmp_path / "run.gguf").unlink()
    refused(tmp_path, NotFoundError, f"{tmp_path}/hf")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.gguf")
    refused(tmp_path / "m.gguf", NotFoundError, "a pipe")
    refused(tmp_path, NotFoundError, "holds no model")
    with pytest.raises(NotFoundError, match="a pipe"):
        Tokenizer(tmp_path / "m.gguf")
    refused("/dev/zero", NotFoundError, "a device")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s.gguf"))
        refused(tmp_path / "s.gguf", NotFoundError, "a socket")
    for file in ("config.json", "model.safetensors", "model-00002-of-00002.safetensors"):
        folder = tmp_path / file.replace(".", "-")
        folder.mkdir()
        _, tensors = tied(folder)
        shards = write_shards(folder, tensors, lambda weight_map, shards: None)
        if file in ("config.json", *shards):
            (folder / file).unlink()
        os.mkfifo(folder / file)
        if file == "model.safetensors":
            assert open_checkpoint(folder).config.tied_head  # its shards are there
        else:
            refused(folder, NotFoundError, "config.json" if file == "config.json" else "a pipe")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1187801280\n", "git-lfs pointer"),
        (b"\n<!DOCTYPE html>\n<html class=''>" + b" " * 99, "web page"),
        (b"", "is empty"),
    ],
)
def test_what_downloads_leave_in_place_of_files_is_told(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "m.gguf").write_bytes(data)
    refused(tmp_path / "m.gguf", FormatError, words)
    refused(tmp_path, FormatError, words)
    (tmp_path / "model.safetensors").write_bytes(data)
    tied(tmp_path)
    refused(tmp_path, FormatError, words, "model.safetensors")
    _, tensors = tied(tmp_path)
    write(tensors, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(FormatError, match=words):
        open_checkpoint(tmp_path).tokenizer()
    (tmp_path / "config.json").write_bytes(data)
    refused(tmp_path, FormatError, words, "config.json")


def test_a_download_that_broke_off_is_called_so(tmp_path: Path) -> None:
    _, tensors = tied(tmp_path)
    write(tensors, tmp_path / "model.safetensors")
    os.truncate(tmp_path / "model.safetensors", (tmp_path / "model.safetensors").stat().st_size - 64)
    refused(tmp_path, FormatError, "ends before its tensor", "a broken download?")


def test_mistyped_paths_are_answered_with_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "Tern-i2_s.gguf").write_bytes(GGUF.read_bytes())
    refused(tmp_path / "models" / "tern-i2_s.gguf", NotFoundError, f"did you mean {tmp_path}/models/Tern-i2_s.gguf?")
    refused(tmp_path / "model" / "Tern-i2_s.gguf", NotFoundError, f"did you mean {tmp_path}/models?")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STERNA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("models/tern-i2_s", NotFoundError, "no file or folder", "models/Tern-i2_s.gguf?", "HF_HUB_OFFLINE")
    refused("https://huggingface.co/org/x", NotFoundError, "org/x is not in the cache")
    refused("https://example.com/x.gguf", NotFoundError, "no address of a model")
    refused("bitnet-2", NotFoundError, "did you mean bitnet-2b")
    (tmp_path / "gone.gguf").symlink_to("blobs/gone")
    refused("gone.gguf", NotFoundError, "a link to blobs/gone")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_checkpoint("~/models/Tern-i2_s.gguf").config.vocab_size == 512
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(tmp_path / "models", NotFoundError, "Permission denied")


def test_files_of_other_kinds_are_no_models(tmp_path: Path) -> None:
    for file in ("tokenizer.json", "pytorch_model.bin", "notes"):
        (tmp_path / file).write_bytes(b"{}" * 40)
        refused(tmp_path / file, FormatError, "no model")
    (tmp_path / "0123456789abcdef").write_bytes(GGUF.read_bytes())  # as blobs of a cache are called
    assert open_checkpoint(tmp_path / "0123456789abcdef").kind == "gguf"


@pytest.mark.parametrize("form", ["i2_s", "tq2_0", "packed", "latent"])
@pytest.mark.parametrize("value", [-1, 0, 1])
def test_matrices_of_equal_weights_are_named(tmp_path: Path, form: str, value: int) -> None:
    keys = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64, "tie_word_embeddings": True}
    model = random_model("BitNetForCausalLM", "grouped", **keys)
    broken = ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight")
    for name in broken:
        model.get_parameter(name).data.fill_(0.02 * value)
    save(tmp_path / "hf", model, quantization(linear_class="autobitlinear"), packed=form == "packed")
    path = tmp_path / "hf" if form in ("packed", "latent") else tmp_path / "m.gguf"
    if path.suffix:
        convert(tmp_path / "hf", path, type=form)
    with pytest.warns(ModelWarning) as caught:
        open_checkpoint(path).load()
    (sentence,) = [str(warning.message) for warning in caught]
    assert "blk.0.ffn_up.weight" in sentence and "blk.1.attn_q.weight" in sentence and sentence.count("blk.") == 2
    command = [sys.executable, "-m", "sterna", "info", str(path)]
    if form == "i2_s":
        told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
        assert json.loads(told.stdout)["warnings"] == [sentence] and told.stderr == ""
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "warnings" in told.stdout and "blk.0.ffn_up" in told.stdout


def test_a_sound_model_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        open_checkpoint(GGUF).load()


def test_conversions_keep_end_tokens_and_templates(tmp_path: Path) -> None:
    config = {"eos_token_id": [2, 5], "bos_token_id": 1}
    folder = tmp_path / "hf"
    save(folder, random_model("LlamaForCausalLM", "grouped", **config), quantization(), packed=True)
    files = {"generation_config.json": {"eos_token_id": [2, 7]}, "special_tokens_map.json": {"eos_token": "</s>"}}
    files |= {"added_tokens.json": {"<|end|>": 7}, "chat_template.json": {"chat_template": "x"}}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "rag.jinja").write_text("{{ messages }}")
    for _ in range(2):
        convert(folder, tmp_path / "again", force=True)
    copied = [*files, "additional_chat_templates/rag.jinja"]
    assert all((tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes() for name in copied)
    assert json.loads((tmp_path / "again" / "config.json").read_text()).items() >= config.items()


def test_end_tokens_pass_through_gguf_and_back(tmp_path: Path) -> None:
    vocabulary = json.loads(byte_level_json())
    size = max(token["id"] for token in vocabulary["added_tokens"]) + 1
    ends = [vocabulary["model"]["vocab"][letter] for letter in "xy"]
    model = random_model("LlamaForCausalLM", "grouped", vocab_size=size, eos_token_id=ends)
    save(tmp_path / "hf", model, quantization(), packed=True)
    (tmp_path / "hf" / "tokenizer.json").write_text(json.dumps(vocabulary))
    (tmp_path / "hf" / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    eos_ids = Tokenizer(tmp_path / "hf").eos_ids
    assert eos_ids >= set(ends)
    for source, target in (("hf", "m.gguf"), ("m.gguf", "n.gguf"), ("n.gguf", "again"), ("again", "once-more")):
        convert(tmp_path / source, tmp_path / target)
        assert open_checkpoint(tmp_path / target).tokenizer().eos_ids == eos_ids
    for name in ("again", "once-more"):
        assert set(json.loads((tmp_path / name / "config.json").read_text())["eos_token_id"]) == eos_ids


def test_end_tokens_are_kept_where_a_folder_gets_another_class(tmp_path: Path) -> None:
    write_packed(tmp_path, stored("dequantised", old_names=True), None, **ONE_BIT_LLM, eos_token_id=[2, 5])
    written = json.loads((convert(tmp_path, tmp_path / "again").path / "config.json").read_text())
    assert written["architectures"] == ["BitNetForCausalLM"] and written["eos_token_id"] == [2, 5]


@pytest.mark.parametrize("encoding", [encoding for encoding in Encoding if encoding.is_written or encoding.is_tiled])
@pytest.mark.parametrize("value", [-1, 0, 1])
def test_one_value_is_seen_in_every_encoding(encoding: Encoding, value: int) -> None:
    def tensor(codes: np.ndarray) -> Tensor:
        packing = encoding.packing
        if isinstance(packing, TernaryTiles):
            data = np.frombuffer(tl_data(38 if encoding is Encoding.TL1 else 39, codes, pad=False), np.uint8)
        elif isinstance(packing, TernaryBlocks):
            scales = codes.reshape(len(codes), -1, packing.group or 1536).any(axis=-1).astype(np.float32) / 2
            data = packing.pack(codes, scales)
        else:
            assert packing.encode is not None
            data = np.ascontiguousarray(packing.encode(codes.reshape(-1).astype(np.float32))).view(np.uint8)
        return Tensor("t", codes.shape, encoding, data.reshape(-1))

    codes = np.full((1536, 1536), value, np.int8)
    seen = one_value(tensor(codes))
    assert seen is not None and np.sign(seen) == value
    codes[-1, -1] = -1 if value == 1 else 1
    assert one_value(tensor(codes)) is None
    assert one_value(replace(tensor(codes), scale=0.0)) == (0 if encoding.is_ternary else None)
