"""Float matrices that are ternary in groups of columns, in GGUF files and folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import UnsupportedError
from sterna.files.gguf import write_gguf
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import Changes, recode
from sterna.tensor.tensor import whole
from sterna.tensor.unpacked import exact_encoding

from . import helpers

CODES = {Encoding.PQ2_0: [-1, 0, 1], Encoding.Q2_0: [-1, 0, 1], Encoding.PTQ1_0: [-1, 0, 1], Encoding.Q1_0: [-1, 1]}


def grouped(group: int, codes: list[int], rows: int = 3, columns: int = 256, seed: int = 0) -> np.ndarray:
    """Random float32 values that are codes times a float16 scale for each group."""
    random = np.random.default_rng(seed)
    scales = random.uniform(0.01, 2, (rows, columns // group)).astype(np.float16).astype(np.float32)
    return random.choice(codes, (rows, columns)).astype(np.float32) * np.repeat(scales, group, axis=1)


@given(st.sampled_from(list(CODES)), st.sampled_from(["F32", "F16"]), st.integers(0, 1000))
def test_values_survive_packing_to_the_bit(encoding: Encoding, floats: str, seed: int) -> None:
    values = grouped(encoding.block, CODES[encoding], seed=seed)
    tensor = helpers.float_tensor("w", values, Encoding[floats])
    changes = Changes()
    packed = whole(recode(tensor, encoding, changes))
    assert packed.encoding is encoding and changes.scale == 0
    assert np.array_equal(decode(packed), values)


def test_the_encoding_that_holds_a_matrix_is_found() -> None:
    for group, codes, expected in (
        (128, [-1, 0, 1], Encoding.PQ2_0),
        (64, [-1, 0, 1], Encoding.Q2_0),
        (128, [-1, 1], Encoding.Q1_0),
        (64, [-1, 1], Encoding.Q2_0),
        (32, [-1, 0, 1], None),
        (128, [-2, -1, 1], None),
        (128, [0], None),
    ):
        assert exact_encoding(helpers.float_tensor("w", grouped(group, codes))) is expected, (group, codes)
    third = grouped(128, [-1, 0, 1]) / np.float32(3)
    assert exact_encoding(helpers.float_tensor("w", third)) is None  # float16 holds no such scale
    broken = grouped(128, [-1, 0, 1])
    broken[2, 7] = np.inf
    assert exact_encoding(helpers.float_tensor("w", broken)) is None


def test_a_scale_is_the_groups_maximum_and_groups_of_zeros_are_held() -> None:
    values = grouped(128, [-1, 0, 1])
    values[1, :128] = 0
    values[2, 1:128] = 0
    values[2, 0] = -0.5
    packed = whole(recode(helpers.float_tensor("w", values), Encoding.PQ2_0, Changes()))
    assert np.array_equal(decode(packed), values)


@pytest.mark.parametrize("type", ["q2_0", "pq2_0", "ptq1_0", "q1_0", "tq2_0"])
def test_weights_that_are_not_ternary_are_refused_by_name(type: str, tmp_path: Path) -> None:
    """BONSAI.md, complaint 4: llama-quantize makes noise of a model in PQ2_0 without a word."""
    config = helpers.replace(helpers.QWEN3, hidden_size=256, intermediate_size=256)
    random = np.random.default_rng(0)
    name = "blk.0.attn_q.weight"
    weights = {name: helpers.float_tensor(name, random.standard_normal((128, 256)), Encoding.F16)}
    path = tmp_path / "float.gguf"
    write_gguf(path, helpers.gguf_metadata(config), (helpers.tiny_tensors(config) | weights).values())
    with pytest.raises(UnsupportedError, match=rf"'{name}' is not ternary, so only training can make it so: .*q8_0"):
        convert(path, tmp_path / "out.gguf", type=type)
    assert [file.name for file in tmp_path.iterdir()] == ["float.gguf"]


def test_an_embedding_is_never_made_ternary_by_rounding(tmp_path: Path) -> None:
    """BONSAI.md, complaint 4, where the layers of a BitNet model may be rounded: their float matrices are latent."""
    model = helpers.DATA / helpers.GOLDEN["bitnet-b1.58"][0]
    for type in ("i2_s", "pq2_0", "tq2_0"):
        with pytest.raises(UnsupportedError, match="'token_embd.weight' is not ternary"):
            convert(model, tmp_path / "out.gguf", head=type)


def test_a_folder_of_float_matrices_is_packed_at_load_where_that_is_exact(tmp_path: Path) -> None:
    config = helpers.replace(helpers.QWEN3, hidden_size=128, intermediate_size=256, rope_attention_factor=1.0)
    source = helpers.tiny_checkpoint(config)
    tensors = {name: decode(tensor) for name, tensor in source.tensors.items()}
    up, down, embedding = "blk.0.ffn_up.weight", "blk.0.ffn_down.weight", "token_embd.weight"
    tensors |= {
        up: grouped(128, [-1, 0, 1], *tensors[up].shape),
        down: tensors[down] + np.float32(0.1),
        embedding: grouped(64, [-1, 0, 1], *tensors[embedding].shape),
    }
    path = tmp_path / "m.gguf"
    kept = [helpers.float_tensor(name, values, Encoding.F32) for name, values in tensors.items()]
    write_gguf(path, helpers.gguf_metadata(config), kept)
    read = open_checkpoint(convert(path, tmp_path / "folder").path).load().tensors
    found = {name: read[name].encoding for name in (up, down, embedding, "blk.1.ffn_up.weight")}
    assert list(found.values()) == [Encoding.PQ2_0, Encoding.F32, Encoding.Q2_0, Encoding.I2_S]
    for name in (up, down, embedding):
        assert np.array_equal(decode(read[name]), tensors[name])
