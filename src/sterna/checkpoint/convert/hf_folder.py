"""Writes a model as a Hugging Face folder: safetensors, with ternary matrices packed as `transformers` packs them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import Checkpoint
from sterna.checkpoint.convert.check import same_config
from sterna.checkpoint.hf.config import read_config
from sterna.errors import UnsupportedError
from sterna.files.hf_files import BESIDE, CONFIG, INDEX, PIECES, TEMPLATES, TOKENIZER
from sterna.files.safetensors.writer import SHARD_BYTES, OutTensor, write_safetensors
from sterna.model.architecture import Architecture
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import AnyTensor, whole
from sterna.ternary import pack_hf, unpack_i2s

TORCH_DTYPES = {Encoding.F32: "float32", Encoding.F16: "float16", Encoding.BF16: "bfloat16"}
COPIED = (*TOKENIZER, *PIECES, *BESIDE)
"""Files of tokenizer and generation, which are copied unchanged from folder to folder, as are `TEMPLATES`."""
WRITTEN = (CONFIG, INDEX, *COPIED)
NOT_COPIED = ("quantization_config", "quantization", "torch_dtype")
"""Keys of a `config.json` that say how the source's tensors were kept."""
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Keys of `config.json` and `generation_config.json` that belong to the tokenizer."""


def config_json(source: Checkpoint, tensors: Sequence[AnyTensor]) -> dict[str, Any]:
    """`config.json` for these tensors. Raises UnsupportedError for a model that transformers cannot describe.

    `linear_class` is always given, because the default divides by `weight_scale`, and the folder's scales multiply.
    """
    config, by_name = source.config, {tensor.name: tensor for tensor in tensors}
    raw = {key: value for key, value in source.metadata.items() if key not in NOT_COPIED}
    if architecture_of(config).written is None:
        raise UnsupportedError(f"Sterna writes no Hugging Face folder of the architecture {config.architecture}.")
    if config.hadamard is not None:
        raise UnsupportedError("A Hugging Face folder cannot say that activations are rotated; write a GGUF file.")
    # The 1bitLLM models' own class supports only latent weights, under other names.
    if source.kind != "hf" or raw["architectures"] == ["BitnetForCausalLM"]:
        raw = _config(config) | {key: raw[key] for key in SPECIAL_TOKENS if key in raw}
    raw["tie_word_embeddings"] = config.tied_head
    raw["dtype"] = TORCH_DTYPES[by_name["token_embd.weight"].encoding]
    ternary = [name for name, tensor in by_name.items() if tensor.encoding.is_ternary]
    if ternary:
        names = {canonical: name.removesuffix(".weight") for canonical, name in hf_names(config).items()}
        plain = [
            names[name]
            for name, tensor in by_name.items()
            if name.startswith("blk.") and len(tensor.shape) == 2 and name not in ternary
        ]
        raw["quantization_config"] = {
            "quant_method": "bitnet",
            "linear_class": "autobitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": ["lm_head", *plain],
        }
        if any(name.endswith("_norm_in.weight") for name in by_name):
            eps = config.input_norm_eps or config.rms_norm_eps
            raw["quantization_config"] |= {"use_rms_norm": True, "rms_norm_eps": eps}
    same_config(config, read_config(raw, config.vocab_size, not config.tied_head), by_name, "A Hugging Face folder")
    return raw


def _config(config: ModelConfig) -> dict[str, Any]:
    architecture = architecture_of(config)
    assert architecture.written is not None
    name, model_type = architecture.written
    scaling = {}
    if config.rope_divisors is not None and len(set(config.rope_divisors)) == 1:
        scaling = {"rope_scaling": {"rope_type": "linear", "factor": config.rope_divisors[0]}}
    return scaling | {
        "architectures": [name],
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "hidden_act": config.activation,
        "tie_word_embeddings": config.tied_head,
        **architecture.write_hf(config),
    }


def write_folder(
    folder: Path,
    source: Checkpoint,
    tensors: Sequence[AnyTensor],
    raw: dict[str, Any],
    written: Callable[[int], None],
    shard_bytes: int = SHARD_BYTES,
    quantized: Sequence[OutTensor] = (),
) -> None:
    """Writes weights, `config.json` and tokenizer into an empty `folder`; `quantized` are the parts of matrices that
    are kept in several tensors each."""
    names, architecture = hf_names(source.config), architecture_of(source.config)
    out = list(quantized)
    for tensor in tensors:
        if tensor.name not in names:
            raise UnsupportedError(f"A Hugging Face folder has no place for the tensor {tensor.name}.")
        name = names[tensor.name]
        out += _packed(tensor, name) if tensor.encoding.is_ternary else [_plain(tensor, name, architecture)]
    write_safetensors(folder, out, written, shard_bytes)
    files = tokenizer_files(source)
    for key in SPECIAL_TOKENS:
        if source.kind != "hf" and "generation_config.json" in files:
            generation = json.loads(files["generation_config.json"])
            raw |= {key: generation[key]} if key in generation else {}
    files[CONFIG] = json.dumps(raw, indent=2, ensure_ascii=False).encode() + b"\n"
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def tokenizer_files(source: Checkpoint) -> dict[str, bytes]:
    """The contents of the tokenizer's files by file name; empty for a model without a tokenizer."""
    if source.kind == "hf":
        templates = sorted(f"{TEMPLATES}{path.name}" for path in (source.folder / TEMPLATES).glob("*.jinja"))
        there = [name for name in (*COPIED, *templates) if (source.folder / name).is_file()]
        return {name: (source.folder / name).read_bytes() for name in there}
    if not source.has_tokenizer:
        return {}
    own = source.folder / TOKENIZER[0]
    given = own.read_bytes() if source.kind == "state" and own.is_file() else None
    return source.tokenizer().hf_files(source.config.context_length, given)


def hf_names(config: ModelConfig) -> dict[str, str]:
    """The Hugging Face name of every tensor, by canonical name."""
    names = architecture_of(config).hf_names(config.num_layers)
    return {canonical: sources[0] for canonical, sources in names.items()}


def _plain(tensor: AnyTensor, name: str, architecture: Architecture) -> OutTensor:
    """A float tensor, in the shape and with the values that folders of its architecture have."""
    in_layer = tensor.name.split(".", 2)[-1] if tensor.name.startswith("blk.") else tensor.name
    change, shape = architecture.to_folder.get(in_layer), tensor.shape
    if in_layer in architecture.convolutions:
        shape = (shape[0], 1, shape[1])

    def make() -> Iterator[np.ndarray]:
        if change is not None:
            yield np.ascontiguousarray(change(decode(whole(tensor))), np.float32).view(np.uint8)
            return
        for part in tensor.parts():
            for rows in part.row_chunks():
                piece = part.rows(*rows)
                yield piece.data
                release(piece.data)

    return OutTensor(name, (tensor.encoding if change is None else Encoding.F32).name, shape, make)


def _packed(tensor: AnyTensor, name: str) -> list[OutTensor]:
    """Packed codes [out/4, in] of an I2_S matrix and `weight_scale` [1], which must be written after them."""
    rows, columns = tensor.shape
    scales: list[float] = []

    def codes() -> Iterator[np.ndarray]:
        part = whole(tensor)
        scales[:] = [part.scale]
        yield pack_hf(unpack_i2s(part.data, part.shape)).reshape(-1)
        release(part.data)

    def scale() -> Iterator[np.ndarray]:
        yield np.array(scales, np.float32).view(np.uint8)

    return [OutTensor(name, "U8", (rows // 4, columns), codes), OutTensor(f"{name}_scale", "F32", (1,), scale)]
