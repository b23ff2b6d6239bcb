"""Adapters as GGUF files, in the form of llama.cpp (`general.type` adapter, `adapter.type` lora)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.adapters.adapter import Adapter, LowRank, is_rotary
from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf.metadata import Keys
from sterna.files.gguf.reader import read_gguf
from sterna.files.gguf.writer import write_gguf
from sterna.model.architectures import GGUF_VARIANTS
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import half_order, interleaved_order
from sterna.tensor.tensor import Tensor

A, B = ".lora_a", ".lora_b"
KNOWN = ("adapter.type", "adapter.lora.alpha", "adapter.lora.task_name", "adapter.lora.prompt_prefix")
"""Keys of adapters that Sterna reads, or that change nothing. Another may change what the tensors mean."""


def read_adapter_gguf(path: Path, config: ModelConfig) -> Adapter:
    """The adapter in a GGUF file, for a model; its shapes are not checked yet. Raises as `read_gguf` does, FormatError
    for a broken adapter, UnsupportedError for one of another kind or another architecture."""
    file = read_gguf(path)
    metadata = file.metadata
    kinds = metadata.get("general.type"), metadata.get("adapter.type")
    # Types come first: the comparison of an array would have an answer for each of its entries.
    if not all(isinstance(kind, str) for kind in kinds) or kinds != ("adapter", "lora"):
        raise UnsupportedError(
            "it is no LoRA adapter: its general.type is not 'adapter', or its adapter.type not 'lora'."
        )
    unknown = next((key for key in metadata if key.startswith("adapter.") and key not in KNOWN), None)
    if unknown is not None:
        raise UnsupportedError(f"it has the key {unknown}, which Sterna does not know.")
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or not _is_of(name, config):
        raise UnsupportedError(
            f"it adapts a model of the architecture {name!r}, and this one is {config.architecture}."
        )
    for tensor, kind in file.unsupported.items():
        raise UnsupportedError(f"its tensor {tensor!r} has the type {kind}, which Sterna does not read.")
    alpha = Keys(metadata, "adapter").number("lora.alpha", 0.0)
    interleaved = GGUF_VARIANTS[name][1].rope_style == "interleaved"
    updates = {}
    for matrix, (a, b) in _pairs(file.tensors).items():
        if interleaved and is_rotary(matrix):
            if len(b) % config.head_dim:
                raise FormatError(f"its B for {matrix} has {len(b)} rows, no multiple of a head.")
            b = b[half_order(len(b), config.head_dim)]
        updates[matrix] = LowRank(a, b, alpha / len(a) if alpha else 1.0)
    base = metadata.get("general.base_model.0.name")
    return Adapter(updates, base if isinstance(base, str) else "")


def _is_of(name: str, config: ModelConfig) -> bool:
    """Whether `general.architecture` can be that of an adapter for a model; BitNet's names differ in nothing here."""
    if name not in GGUF_VARIANTS:
        return False
    architecture = GGUF_VARIANTS[name][0].name
    return architecture == config.architecture or {architecture, config.architecture} == {"bitnet", "bitnet-b1.58"}


def _pairs(tensors: Mapping[str, Tensor]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A [rank, in] and B [out, rank] by the name of their matrix."""
    names = {name[: -len(A)] for name in tensors if name.endswith((A, B))}
    strange = next((name for name in tensors if name[: -len(A)] not in names or not name.endswith((A, B))), None)
    if strange is not None:
        raise UnsupportedError(f"its tensor {strange!r} is neither an A nor a B of LoRA, and Sterna runs no others.")
    pairs = {}
    for matrix in names:
        if matrix == "token_embd.weight":
            raise UnsupportedError("it adapts the embedding, which Sterna does not do.")
        if matrix + A not in tensors or matrix + B not in tensors:
            raise FormatError(f"it has only one of A and B for {matrix!r}.")
        a, b = tensors[matrix + A], tensors[matrix + B]
        if len(a.shape) != 2 or len(b.shape) != 2:
            raise FormatError(f"its A or B for {matrix!r} is no matrix.")
        pairs[matrix] = decode(a), decode(b)
    return pairs


def write_adapter_gguf(path: Path, adapter: Adapter, config: ModelConfig, architecture: str, name: str) -> None:
    """Writes an adapter in float32 for a model whose GGUF file has this `general.architecture`.

    The file has one alpha; where updates differ in theirs, the difference goes into B. Replaces `path`.
    """
    alphas = {low.alpha for low in adapter.updates.values()}
    # An alpha of 0 means a scale of 1 to llama.cpp.
    alpha = alphas.pop() if len(alphas) == 1 and 0 not in alphas else 1.0
    interleaved = GGUF_VARIANTS[architecture][1].rope_style == "interleaved"
    tensors = []
    for matrix, low in adapter.updates.items():
        b = low.b if low.alpha == alpha else low.b * np.float32(low.alpha / alpha)
        if interleaved and is_rotary(matrix):
            b = b[interleaved_order(len(b), config.head_dim)]
        tensors += [encode(matrix + A, low.a, Encoding.F32), encode(matrix + B, b, Encoding.F32)]
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": "adapter",
        "general.name": name,
        "general.file_type": 0,
        "adapter.type": "lora",
        "adapter.lora.alpha": float(alpha),
    }
    if adapter.base:
        metadata["general.base_model.count"] = 1
        metadata["general.base_model.0.name"] = adapter.base
    write_gguf(path, metadata, tensors)
