"""Models of gated delta nets and gated attention (Qwen3.5, Bonsai 27B, Bonsai 2): golden files, names, invariance."""

from __future__ import annotations

import itertools
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sterna import LLM, _native
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.engine.backend import Span
from sterna.engine.native import NativeBackend
from sterna.errors import FormatError, ModelWarning, UnsupportedError
from sterna.files.gguf import read_gguf, write_gguf
from sterna.model.architectures import build_plan
from sterna.model.oracle import Oracle
from sterna.tensor.decode import tensor_values

from .helpers import QWEN35, SHARED, dump_tensors, float_tensor, relative_error, tiny_checkpoint

FOLDER = SHARED / "golden-bonsai" / "qwen35"
FILES = {
    "hf": "unrotated",
    "bonsai1-style-pq2_0.gguf": "bonsai1-style",
    "bonsai1-style-q2_0-g64.gguf": "bonsai1-style",
    "bonsai2-style-ptq1_0.gguf": "bonsai2-style",
}
"""Models, and the names of their logits."""
golden = pytest.mark.skipif(not FOLDER.is_dir(), reason="../shared/golden-bonsai is not there")


def sequences(name: str) -> list[tuple[list[int], np.ndarray]]:
    """Both token sequences and their logits; the second is longer than a block."""
    tokens = json.loads((FOLDER / "tokens.json").read_text())["tokens"]
    return [
        (tokens[key], np.fromfile(FOLDER / f"{name}.{key}.logits.f32", np.float32).reshape(len(tokens[key]), -1))
        for key in "ab"
    ]


@golden
@pytest.mark.parametrize("name", FILES)
def test_golden_models_have_the_logits_of_their_weights(name: str) -> None:
    checkpoint = open_checkpoint(FOLDER / name).load()
    plan = build_plan(checkpoint.config, checkpoint.tensors, activations="none")
    oracle = Oracle(json.loads(json.dumps(plan.to_dict())), tensor_values(checkpoint.tensors), np.float32)
    for tokens, expected in sequences(FILES[name]):
        assert np.abs(expected - oracle.logits(tokens)).max() < 1e-3
        logits = LLM(FOLDER / name, threads=2, kv="f32", activations="float").logits(tokens)
        assert np.abs(expected - logits).max() < 1e-3
        assert relative_error(expected, LLM(FOLDER / name, threads=1).logits(tokens)) < 5e-3


@golden
@pytest.mark.parametrize("name", ["bonsai1-style-pq2_0.gguf", "bonsai2-style-ptq1_0.gguf"])
def test_step_by_step_is_the_whole_text_to_the_bit(name: str) -> None:
    checkpoint = open_checkpoint(FOLDER / name).load()
    plan = build_plan(checkpoint.config, checkpoint.tensors)
    tokens, _ = sequences(FILES[name])[1]
    expected = LLM(FOLDER / name, threads=1).logits(tokens)
    for isa, threads, chunk in itertools.product(_native.available_isas(), (1, 2), (1, 7)):
        backend = NativeBackend(plan, checkpoint.tensors, isa=isa, threads=threads, blocks=2)
        tables = [[0, 1], [0, 0]]
        rows = [
            backend.forward([Span(tokens[at : at + chunk], at, tables, len(tokens[at : at + chunk]))])
            for at in range(0, len(tokens), chunk)
        ]
        assert np.array_equal(backend.logits(np.concatenate(rows)), expected), (isa, threads, chunk)


@golden
def test_names_of_a_model_with_vision_and_drafter(tmp_path: Path) -> None:
    raw = json.loads((FOLDER / "hf" / "config.json").read_text())
    tensors = load_file(FOLDER / "hf" / "model.safetensors")
    nested = {name.replace("model.", "model.language_model."): values for name, values in tensors.items()}
    nested |= {name: np.zeros(4, np.float32) for name in ("model.visual.merger.norm.bias", "mtp.norm.weight")}
    save_file(nested, tmp_path / "model.safetensors")
    whole = {"architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": raw, "vision_config": {"depth": 2}}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    with pytest.warns(ModelWarning, match=r"passes over: .*visual") as warned:
        got = open_checkpoint(tmp_path).load()
    assert len(warned) == 1
    expected = open_checkpoint(FOLDER / "hf").load()
    assert got.config == expected.config and got.tensors.keys() == expected.tensors.keys()


@golden
def test_a_folder_that_mlx_saved_has_the_same_tensors(tmp_path: Path) -> None:
    tensors = {
        f"language_model.{name}": values for name, values in load_file(FOLDER / "hf" / "model.safetensors").items()
    }
    for name, values in tensors.items():
        if name.endswith("conv1d.weight"):
            tensors[name] = np.ascontiguousarray(values.swapaxes(1, 2))
        elif name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
            tensors[name] = values + np.float32(1)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((FOLDER / "hf" / "config.json").read_bytes())
    got, expected = (open_checkpoint(path).load() for path in (tmp_path, FOLDER / "hf"))
    assert dump_tensors(got.tensors) == dump_tensors(expected.tensors)


@golden
@pytest.mark.parametrize("counted", [True, False])
def test_the_drafter_of_a_gguf_file_is_passed_over(tmp_path: Path, counted: bool) -> None:
    file = read_gguf(FOLDER / "bonsai1-style-pq2_0.gguf")
    extra = [float_tensor(f"blk.2.{name}.weight", np.zeros(128)) for name in ("attn_norm", "nextn.enorm")]
    keys = {"qwen35.block_count": 2 + counted, "qwen35.nextn_predict_layers": 1}
    write_gguf(tmp_path / "m.gguf", dict(file.metadata) | keys, [*file.tensors.values(), *extra])
    with pytest.warns(ModelWarning, match="draft tokens"):
        got = open_checkpoint(tmp_path / "m.gguf")
    expected = open_checkpoint(FOLDER / "bonsai1-style-pq2_0.gguf")
    assert got.config == expected.config and got.tensors.keys() == expected.tensors.keys()
    with pytest.warns(ModelWarning):
        converted = convert(tmp_path / "m.gguf", tmp_path / "n.gguf", verify=True).path
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_checkpoint(converted).config == expected.config


@golden
def test_conversions_take_all_matrices_of_the_layers(tmp_path: Path) -> None:
    converted = convert(FOLDER / "bonsai2-style-ptq1_0.gguf", tmp_path / "m.gguf", type="q2_0", head="q2_0").path
    tokens, expected = sequences("bonsai2-style")[1]
    assert relative_error(expected, LLM(converted, threads=2, kv="f32", activations="float").logits(tokens)) < 1e-4
    kinds = {name: tensor.encoding.value for name, tensor in open_checkpoint(converted).tensors.items()}
    assert {kinds[f"blk.0.{name}.weight"] for name in ("attn_qkv", "attn_gate", "ssm_out", "ffn_up")} == {"q2_0"}
    with pytest.raises(UnsupportedError, match="rotated"):
        convert(converted, tmp_path / "folder")


@golden
def test_folders_and_files_become_each_other(tmp_path: Path) -> None:
    file = convert(FOLDER / "hf", tmp_path / "m.gguf", verify=True).path
    assert open_checkpoint(file).config.delta_net == replace(
        open_checkpoint(FOLDER / "hf").config.delta_net, is_tiled=True
    )
    folder = convert(file, tmp_path / "folder", verify=True).path
    back = convert(FOLDER / "bonsai1-style-pq2_0.gguf", tmp_path / "bonsai", verify=True).path
    for path, name in ((file, "unrotated"), (folder, "unrotated"), (back, "bonsai1-style")):
        tokens, expected = sequences(name)[1]
        logits = LLM(path, threads=2, kv="f32", activations="float").logits(tokens)
        assert np.abs(expected - logits).max() < 1e-3


@golden
def test_transformers_reads_a_folder_as_it_was_before(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    file = convert(FOLDER / "hf", tmp_path / "m.gguf").path
    folder = convert(file, tmp_path / "folder", type="f32").path
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens, expected = sequences("unrotated")[0]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].numpy()
    assert np.abs(expected - logits).max() < 1e-3


@golden
@pytest.mark.parametrize(
    "change",
    [
        {"ssm.time_step_rank": 0},
        {"ssm.time_step_rank": 3},
        {"ssm.group_count": 3},
        {"ssm.state_size": 1 << 20},
        {"ssm.conv_kernel": 1},
        {"ssm.inner_size": None},
        {"rope.dimension_count": 66},
        {"rope.dimension_count": 15},
        {"attention.recurrent_layers": [True]},
        {"full_attention_interval": 1},
    ],
    ids=str,
)
def test_numbers_that_no_hybrid_has_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    file = read_gguf(FOLDER / "bonsai1-style-pq2_0.gguf")
    keys = dict(file.metadata) | {f"qwen35.{key}": value for key, value in change.items()}
    kept = {key: np.array(value) if isinstance(value, list) else value for key, value in keys.items()}
    path = tmp_path / "m.gguf"
    write_gguf(path, {key: value for key, value in kept.items() if value is not None}, list(file.tensors.values()))
    with pytest.raises(FormatError, match=r"^[^\n]*\.$"):
        open_checkpoint(path)


@golden
def test_layers_can_be_listed(tmp_path: Path) -> None:
    file = read_gguf(FOLDER / "bonsai1-style-pq2_0.gguf")
    keys = dict(file.metadata) | {"qwen35.attention.recurrent_layers": np.array([True, False])}
    write_gguf(tmp_path / "m.gguf", keys, list(file.tensors.values()))
    assert open_checkpoint(tmp_path / "m.gguf").config == open_checkpoint(FOLDER / "bonsai1-style-pq2_0.gguf").config


@pytest.mark.parametrize("order", ["tiled", "grouped"])
@pytest.mark.parametrize(
    ("key_heads", "value_heads", "key_dim", "value_dim"), [(1, 2, 8, 8), (2, 6, 16, 40), (4, 4, 24, 16)]
)
def test_shapes_of_delta_nets(order: str, key_heads: int, value_heads: int, key_dim: int, value_dim: int) -> None:
    assert QWEN35.delta_net is not None
    sizes = {"key_heads": key_heads, "value_heads": value_heads, "key_dim": key_dim, "value_dim": value_dim}
    net = replace(QWEN35.delta_net, **sizes, conv_width=3, is_tiled=order == "tiled")
    checkpoint = tiny_checkpoint(replace(QWEN35, delta_net=net, context_length=256))
    plan = build_plan(checkpoint.config, checkpoint.tensors, activations="none")
    tokens = np.random.default_rng(0).integers(0, 96, 200).tolist()
    expected = Oracle(plan.to_dict(), tensor_values(checkpoint.tensors), np.float32).logits(tokens)
    assert relative_error(expected, LLM(checkpoint, kv="f32", activations="float").logits(tokens)) < 1e-4


@pytest.mark.parametrize(
    ("tables", "start"),
    [([[0, 1], [5, 5]], 64), ([[0, 1], [0, 9]], 64), ([[0, 1], [0, 0]], 50), ([[0, 1], [0, 0]], 70)],
)
def test_a_state_that_is_not_that_of_the_tokens_before_is_refused(tables: list[list[int]], start: int) -> None:
    checkpoint = tiny_checkpoint(QWEN35)
    plan = build_plan(checkpoint.config, checkpoint.tensors)
    backend = NativeBackend(plan, checkpoint.tensors, isa="", threads=1, blocks=6)
    backend.forward([Span(range(60), 0, [[0, 1], [0, 0]])])
    with pytest.raises(ValueError, match="malformed"):
        backend.forward([Span([1], start, tables)])
    with pytest.raises(ValueError, match="share a state slot"):
        backend.forward([Span([1, 2], 60, [[0, 1], [0, 0]]), Span([1, 2], 0, [[2, 3], [0, 0]])])
    backend.forward([Span([1, 2], 55, [[0, 1], [0, 0]])])
