"""Which files of a repository on the hub are the model."""

from __future__ import annotations

import pytest

from sterna.errors import FormatError, NotFoundError
from sterna.files.hub.repo_files import choose

INDEX = "model.safetensors.index.json"
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
