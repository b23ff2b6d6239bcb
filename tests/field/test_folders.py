"""Models as people's folders have them: what transformers opens, Sterna opens with the same logits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, FormatError, ModelWarning, NotFoundError, SternaError, UnsupportedError
from sterna.files.hub.repo_files import choose

from ..helpers import DATA

GGUF = DATA / "tiny-bitnet-b158-i2_s.gguf"
torch = pytest.importorskip("torch")
from safetensors.torch import save_file, save_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from ..hf_folders import quantization, random_model, save  # noqa: E402

Tensors = dict[str, Any]
INDEX = "model.safetensors.index.json"


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


@pytest.mark.parametrize(
    "change",
    [
        lambda weight_map, shards: weight_map.update({"lm_head.weight": shards[1]}),
        lambda weight_map, shards: weight_map.update({"model.layers.0.self_attn.rotary_emb.inv_freq": shards[0]}),
        lambda weight_map, shards: weight_map.update({"model.norm.weight": shards[0]}),
        lambda weight_map, shards: weight_map.pop("model.norm.weight"),
    ],
    ids=["promises the tied head", "promises frequencies", "names the other shard", "leaves one out"],
)
def test_the_index_says_which_files_and_the_files_say_which_tensors(tmp_path: Path, change: Any) -> None:
    model, tensors = tied(tmp_path)
    write_shards(tmp_path, tensors, change)
    write({"model.norm.weight": torch.zeros(64)}, tmp_path / "model-00003-of-00003.safetensors")  # left over
    write({"stray": torch.zeros(1)}, tmp_path / "consolidated.safetensors")
    (tmp_path / "optimizer.bin").write_bytes(b"pickle")
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


def test_shards_may_have_any_name_and_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    model, tensors = tied(tmp_path)
    parts = {"model-00001-of-000002.safetensors": sorted(tensors)[::2], "weights/b.safetensors": sorted(tensors)[1::2]}
    for file, names in parts.items():
        write({name: tensors[name] for name in names}, tmp_path / file)
    weight_map = {name: file for file, names in parts.items() for name in names}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_logits(tmp_path, model)
    assert_logits(tmp_path)


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
