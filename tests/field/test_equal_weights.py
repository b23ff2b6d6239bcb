"""Matrices in which all weights are equal, as broken uploads leave them."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ModelWarning
from sterna.tensor.encodings import Encoding, TernaryBlocks, TernaryTiles
from sterna.tensor.summary import one_value
from sterna.tensor.tensor import Tensor

from ..helpers import DATA
from ..tl_files import tl_data

pytest.importorskip("torch")
from ..hf_folders import quantization, random_model, save  # noqa: E402

GGUF = DATA / "tiny-bitnet-b158-i2_s.gguf"


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


@pytest.mark.parametrize(
    ("encoding", "value"),
    [
        (encoding, value)
        for encoding in Encoding
        for value in ((-1, 1) if encoding is Encoding.Q1_0 else (-1, 0, 1))
        if encoding.is_written or encoding.is_tiled
    ],
)
def test_one_value_is_seen_in_every_encoding(encoding: Encoding, value: int) -> None:
    def tensor(codes: np.ndarray) -> Tensor:
        packing = encoding.packing
        if isinstance(packing, TernaryTiles):
            data = np.frombuffer(tl_data(38 if encoding is Encoding.TL1 else 39, codes, pad=False), np.uint8)
        elif isinstance(packing, TernaryBlocks):
            scales = codes.reshape(len(codes), -1, packing.group or 1536).any(axis=-1).astype(np.float32) / 2
            assert packing.pack is not None
            data = packing.pack(codes, scales)
        else:
            encode = packing.encode
            assert encode is not None
            row, last = (
                np.ascontiguousarray(encode(each.astype(np.float32))).view(np.uint8) for each in codes[[0, -1]]
            )
            data = np.concatenate([np.tile(row.reshape(-1), len(codes) - 1), last.reshape(-1)])
        return Tensor("t", codes.shape, encoding, data.reshape(-1))

    codes = np.full((1536, 1536), value, np.int8)
    seen = one_value(tensor(codes))
    assert seen is not None and np.sign(seen) == value
    codes[-1, -1] = -1 if value == 1 else 1
    assert one_value(tensor(codes)) is None
    assert one_value(replace(tensor(codes), scale=0.0)) == (0 if encoding.is_ternary else None)
