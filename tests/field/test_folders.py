"""Models as people's folders have them: what transformers opens, Sterna opens with the same logits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import FormatError, ModelWarning, NotFoundError

from ..test_hf_folder import stored
from ..test_hf_folder import write as write_packed
from ..tiny_vocabularies import byte_level_json

torch = pytest.importorskip("torch")
from safetensors.torch import save_model  # noqa: E402

from ..hf_folders import quantization, random_model, save  # noqa: E402
from .folders import EMBEDDING, HEAD, INDEX, assert_logits, refused, tied, write, write_shards  # noqa: E402

ONE_BIT_LLM = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu"}
FREQUENCIES = "model.layers.0.self_attn.rotary_emb.inv_freq"


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
