"""Opens checkpoints of `sterna train`: float32 latent weights as `model.NAME`, beside the state of the optimizers.

The metadata `quantization` says how they were quantised in training: the fields of a `Quantization`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sterna.checkpoint.checkpoint import Checkpoint, about, check
from sterna.checkpoint.state_files import joined, shard_digests
from sterna.errors import FormatError, UnsupportedError
from sterna.files.safetensors.reader import read_metadata, read_safetensors
from sterna.model.config import ModelConfig, config_from_dict
from sterna.model.validate import check_config, input_norm_shapes, tensor_shapes
from sterna.tensor.encodings import Encoding
from sterna.tensor.latent import in_groups, in_one_scale
from sterna.tensor.tensor import AnyTensor, Tensor
from sterna.ternary.groups import GROUP_SIZES, GroupQuantizer
from sterna.ternary.quantization import Quantization
from sterna.ternary.quantize import absmean, binary

QUANTIZATION = "quantization"
"""The metadata key of how weights were quantised."""


def open_state(path: Path) -> Checkpoint:
    """The model of a training run at its last checkpoint. Its matrices are floats, which are latent if absmean makes
    all of them ternary, or streams that make them what they were trained as.

    Raises NotFoundError and FormatError for a file that is no checkpoint of a training run, UnsupportedError for a
    model that no file format holds.
    """
    metadata = read_metadata(path)
    files = [read_safetensors(file) for file in (path, *shard_digests(path, metadata))]
    with about(path):
        config = _config(metadata)
        quantization = _quantization(metadata)
        check_exports(quantization)
        check_config(config)
        tensors: dict[str, AnyTensor] = {}
        own_norms = (name for name in input_norm_shapes(config) if any(f"model.{name}" in file for file in files))
        for name in (*tensor_shapes(config), *own_norms):
            shards = [file[f"model.{name}"] for file in files if f"model.{name}" in file]
            if not shards or shards[0].dtype != "F32":
                raise FormatError(f"it has no float32 tensor 'model.{name}' (no checkpoint of a training run?).")
            entry = joined(shards)
            tensors[name] = _as_trained(Tensor(name, entry.shape, Encoding.F32, entry.data), quantization)
        check(config, tensors)
    latent = quantization.weights == "ternary" and quantization.groups is None and not quantization.kept
    return Checkpoint(config, tensors, {}, path, "state", latent=latent)


def check_exports(quantization: Quantization) -> None:
    """Raises UnsupportedError for quantised activations that no file format records."""
    if quantization.activations == "a4.8":
        raise UnsupportedError(
            "No file format records the 4-bit and sparse activations of BitNet a4.8, and without them another model "
            "would run: export a run whose quantization.activations are int8."
        )


def _as_trained(tensor: Tensor, quantization: Quantization) -> AnyTensor:
    """A tensor of a state; a matrix as what its quantiser makes of it, but where absmean makes all of them ternary."""
    in_layer = tensor.name.startswith("blk.")
    if len(tensor.shape) != 2 or tensor.name in quantization.kept or not (in_layer or quantization.embedding):
        return tensor
    if quantization.groups is not None:
        return in_groups(tensor, quantization.groups)
    if quantization.weights == "binary":
        return in_one_scale(tensor, binary)
    return in_one_scale(tensor, absmean) if quantization.kept else tensor


def _quantization(metadata: Mapping[str, str]) -> Quantization:
    """The quantisation that a state records, from its `dataclasses.asdict` as JSON."""
    try:
        match json.loads(metadata.get(QUANTIZATION, "null")):
            case None:  # States of development versions have none where absmean quantised the weights.
                return Quantization()
            case {
                "weights": str(weights),
                "groups": groups,
                "activations": str(inputs),
                "embedding": bool(embedding),
                **more,
            }:
                return Quantization(weights, _groups(groups), inputs, embedding, _names(more.get("kept", [])))
    except (ValueError, RecursionError):
        pass
    raise FormatError(
        f"it does not say how its weights are made ternary: its {QUANTIZATION} is none that Sterna knows."
    )


def _names(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise ValueError(f"{raw!r} is no list of names")
    return tuple(raw)


def _groups(raw: object) -> GroupQuantizer | None:
    match raw:
        case None:
            return None
        case {"group_size": int(size), "zeros": zeros} if size in GROUP_SIZES and (
            zeros is None or type(zeros) is int and 0 <= zeros < size
        ):
            return GroupQuantizer(size, zeros)
    raise ValueError(f"{raw!r} is no quantiser of groups")


def _config(metadata: Mapping[str, str]) -> ModelConfig:
    try:
        raw = json.loads(metadata["model"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FormatError(
            "it does not say what model it belongs to: it is no checkpoint of a training run, and no model that a "
            "config.json beside it describes."
        ) from error
    return config_from_dict(raw)
