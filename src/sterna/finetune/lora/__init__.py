"""Adapters (LoRA, arXiv 2106.09685) that are trained beside a packed model."""

from __future__ import annotations

from pathlib import Path

from sterna.checkpoint import Checkpoint
from sterna.checkpoint.adapters import Adapter, in_model, out_of_model, read_adapter
from sterna.checkpoint.adapters.convert import write_adapter
from sterna.engine.machine import choose_isa, default_threads
from sterna.finetune.lora.decoder import AdaptedDecoder
from sterna.finetune.lora.memory import base_bytes, peak_memory
from sterna.finetune.lora.section import LoraSection, new_updates
from sterna.train.allocator import return_large_memory

__all__ = ["AdaptedDecoder", "LoraSection", "base_bytes", "peak_memory", "prepare", "save_adapter", "trained"]


def prepare(
    base: Checkpoint, lora: LoraSection, seed: int, init: str = "", threads: int | None = None
) -> AdaptedDecoder:
    """A model whose adapter is to be trained: that at `init`, or a new one drawn from `seed`, which changes no bit.

    The base stays in the encoding that its file has, and is not trained. The process's allocator is set to return large
    freed blocks. Raises ArgumentError and UnsupportedError as `LoraSection.sites` and `AdaptedDecoder` do, and what
    `read_adapter` raises.
    """
    checkpoint = base.load()
    config = checkpoint.config
    if init:
        adapter = read_adapter(init, config)
    else:
        adapter = Adapter(new_updates(lora.sites(config), seed))
    return_large_memory()
    return AdaptedDecoder(
        checkpoint,
        in_model(adapter, config, checkpoint.tensors).updates,
        isa=choose_isa(),
        threads=default_threads() if threads is None else threads,
        dropout=lora.dropout,
    )


def trained(model: AdaptedDecoder, base_name: str = "") -> Adapter:
    """The adapter of a model as it is at present; `base_name`: what its files call the model."""
    return out_of_model(Adapter(model.updates(), base_name), model.config)


def save_adapter(model: AdaptedDecoder, base: Checkpoint, folder: Path, name: str) -> list[Path]:
    """Writes the adapter as a folder of PEFT, `folder/NAME`, and as `folder/NAME.gguf`, and replaces what is there."""
    adapter = trained(model, str(base.path))
    return [write_adapter(adapter, base, folder / name), write_adapter(adapter, base, folder / f"{name}.gguf")]
