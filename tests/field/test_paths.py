"""What paths stand for, and what is said where there is no model."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from sterna import Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, FormatError, NotFoundError, SternaError, UnsupportedError

from ..helpers import DATA

torch = pytest.importorskip("torch")
from .folders import INDEX, assert_logits, refused, tied, write, write_shards  # noqa: E402

GGUF = DATA / "tiny-bitnet-b158-i2_s.gguf"


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
