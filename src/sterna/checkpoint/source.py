"""Whatever a model can be converted from: described at once, its tensors made only when they are written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.checkpoint import about
from sterna.checkpoint.gguf.model import is_scale, load_gguf
from sterna.checkpoint.gguf.reader import read_gguf
from sterna.checkpoint.hf import open_hf
from sterna.checkpoint.hub import resolve_model
from sterna.checkpoint.mapped import release
from sterna.checkpoint.safetensors import read_metadata, read_safetensors
from sterna.checkpoint.tensor import TILED, AnyTensor, Encoding, Tensor, TensorStream
from sterna.checkpoint.ternary import in_x86_layout, untiled
from sterna.checkpoint.validate import check_config, check_tensors, tensor_shapes
from sterna.errors import ArgumentError, FormatError
from sterna.model.config import ModelConfig
from sterna.model.tokenizer import Tokenizer
from sterna.ternary.i2s import LAYOUTS
from sterna.ternary.tl import TL_TILES

STATE_FILE = "state.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Source:
    """A checked model before conversion.

    `kind`: `gguf`, `hf` (a Hugging Face folder) or `state` (a training checkpoint of ours). `tensors` by canonical
    name; q and k pair dimensions as `config.rope_style` says. `metadata`: GGUF keys or `config.json`. `latent`: float
    matrices of layers are ternary ones before quantisation.
    """

    path: Path
    kind: str
    config: ModelConfig
    tensors: dict[str, AnyTensor]
    metadata: dict[str, Any]
    latent: bool

    def tokenizer(self) -> Tokenizer | None:
        """The model's tokenizer, None where it brings none; raises FormatError and UnsupportedError as `Tokenizer`."""
        if self.kind == "gguf":
            has_tokens = "tokenizer.ggml.tokens" in self.metadata
            return Tokenizer.from_gguf_metadata(self.metadata) if has_tokens else None
        names = ("tokenizer.json", "tokenizer.model")
        if not any((self.folder / name).is_file() for name in names):
            return None
        return Tokenizer(self.folder if self.kind == "hf" else self.folder / TOKENIZER_FILE)

    @property
    def folder(self) -> Path:
        """Where the source's files lie."""
        return self.path if self.path.is_dir() else self.path.parent

    @property
    def name(self) -> str:
        """What to call the model where nothing else says."""
        given = self.metadata.get("general.name")
        return given if isinstance(given, str) and given else self.path.resolve().stem


def open_source(path: str | os.PathLike[str], i2s_layout: str = "x86", tl_tiles: str = "preset") -> Source:
    """The model at `path`, or as `resolve_model` finds it: a GGUF file, a Hugging Face folder, or a training run's
    `state.safetensors` or folder.

    `tl_tiles`: whose tiles a TL1 file has, which nothing in it says: `preset` of bitnet.cpp, or its `setup_env.py`
    (`setup`). `i2s_layout`, and the errors NotFoundError, FormatError, UnsupportedError and ArgumentError, as
    `open_checkpoint`.
    """
    path = resolve_model(path)
    if i2s_layout not in LAYOUTS or (i2s_layout != "x86" and path.suffix != ".gguf"):
        raise ArgumentError(f"i2s_layout is one of {', '.join(LAYOUTS)}, for GGUF files alone; it is {i2s_layout!r}.")
    if tl_tiles not in TL_TILES:
        raise ArgumentError(f"tl_tiles is {' or '.join(TL_TILES)}, not {tl_tiles!r}.")
    if path.is_dir():
        if not (path / "config.json").exists() and (path / STATE_FILE).exists():
            return _from_state(path / STATE_FILE)
        return _from_folder(path)
    if path.suffix == ".safetensors":
        return _from_state(path)
    return _from_gguf(path, i2s_layout, tl_tiles)


def _from_gguf(path: Path, i2s_layout: str, tl_tiles: str) -> Source:
    checkpoint = load_gguf(path)
    config = checkpoint.config
    stored = read_gguf(path).tensors
    # The loader folds some tensors into the configuration (RoPE factors); a conversion passes them on.
    folded = {name for name in stored if is_scale(name) or (name == "output.weight" and config.tied_head)}
    extra = {name: tensor for name, tensor in stored.items() if name not in checkpoint.tensors and name not in folded}
    tensors = {name: _in_our_layout(tensor, i2s_layout, tl_tiles) for name, tensor in checkpoint.tensors.items()}
    latent = config.architecture.startswith("bitnet")
    return Source(path, "gguf", config, {**tensors, **extra}, checkpoint.metadata, latent)


def _in_our_layout(tensor: Tensor, i2s_layout: str, tl_tiles: str) -> AnyTensor:
    """What a file keeps in an order of its own, to be put into ours when it is needed."""

    def make() -> Iterator[Tensor]:
        yield untiled(in_x86_layout(tensor, i2s_layout), tl_tiles)
        release(tensor.data)

    if tensor.encoding in TILED or (tensor.encoding is Encoding.I2_S and i2s_layout != "x86"):
        return TensorStream(tensor.name, tensor.shape, Encoding.I2_S, make)
    return tensor


def _from_folder(path: Path) -> Source:
    folder, config, streams, raw = open_hf(path)
    with about(folder):
        _check(config, streams)
    return Source(folder, "hf", config, dict(streams), raw, latent=False)


def _check(config: ModelConfig, streams: Mapping[str, TensorStream]) -> None:
    """What `check_tensors` asks of tensors, before there are any bytes."""
    no_bytes = {name: Tensor(name, s.shape, s.encoding, np.empty(0, np.uint8)) for name, s in streams.items()}
    check_config(config)
    check_tensors(config, no_bytes)


def _from_state(path: Path) -> Source:
    """A checkpoint of `sterna train`: float32 latent weights by canonical name behind `model.`, beside optimizers'."""
    metadata, stored = read_metadata(path), read_safetensors(path)
    with about(path):
        config = _trained_config(metadata)
        check_config(config)
        tensors: dict[str, AnyTensor] = {}
        for name in tensor_shapes(config):
            entry = stored.get(f"model.{name}")
            if entry is None or entry.dtype != "F32":
                raise FormatError(f"it has no float32 tensor 'model.{name}' (no checkpoint of a training run?).")
            tensors[name] = Tensor(name, entry.shape, Encoding.F32, entry.data)
        check_tensors(config, tensors)  # type: ignore[arg-type]
    return Source(path, "state", config, tensors, {}, latent=True)


def _trained_config(metadata: Mapping[str, str]) -> ModelConfig:
    """The model that `sterna train` trains, from the numbers beside its weights."""
    try:
        shape = json.loads(metadata["model"])
        numbers: dict[str, Any] = {
            name: int(shape[name])
            for name in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads")
        }
        return ModelConfig(
            architecture="bitnet-b1.58",
            **numbers,
            head_dim=numbers["hidden_size"] // numbers["num_heads"],
            context_length=int(shape["context_length"]),
            rms_norm_eps=float(shape["rms_norm_eps"]),
            rope_theta=float(shape["rope_theta"]),
            rope_style="half",
            activation="relu2",
            tied_head=True,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError, RecursionError) as error:
        raise FormatError("it does not say what model it belongs to (no checkpoint of a training run?).") from error
