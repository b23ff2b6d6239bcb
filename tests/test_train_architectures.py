"""Every architecture and quantiser that can be trained: a few steps, and the engine gives the loss of the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.errors import ArgumentError, UnsupportedError  # noqa: E402
from sterna.evaluate.perplexity import evaluate_text  # noqa: E402
from sterna.tensor.decode import decode, ternary_codes  # noqa: E402
from sterna.ternary.quantize import binary  # noqa: E402
from sterna.train.config import load_config  # noqa: E402
from sterna.train.trainer import run_training  # noqa: E402

from .test_train_run import CONFIG, one_thread, write_corpus  # noqa: E402, F401

ONE_LAYER = ["model.num_layers=1", "watch.sample_tokens=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("architectures")
    write_corpus(folder)
    (folder / "run.toml").write_text(CONFIG.format(output="out", steps=12, optimizer="adamw"))
    return folder


def engine_loss(path: Path, text: Path, activations: str) -> float:
    """Bits per byte that the engine gives the corpus of `write_corpus`."""
    llm = LLM(path, threads=1, activations=activations)
    scores = [evaluate_text(llm, part) for part in text.read_text().split("\n<|endoftext|>\n")]
    return sum(score.bits_per_byte * score.bytes for score in scores) / sum(score.bytes for score in scores)


@pytest.mark.parametrize(
    ("keys", "activations"),
    [
        (["model.architecture=bitnet", "model.intermediate_size=340"], "int8"),
        (["model.architecture=llama", "model.tied_head=false", "model.num_kv_heads=2"], "int8"),
        (["model.architecture=qwen3", "model.head_dim=32"], "int8"),
        (["model.architecture=qwen3", "quantization.group_size=128", "model.head_dim=64"], "float"),
        (["quantization.weights=binary"], "int8"),
        (["quantization.activations=float"], "float"),
        (["quantization.weights=float"], "int8"),
        (["model.architecture=llama", "quantization.weights=binary", "quantization.group_size=128"], "float"),
        (["model.architecture=llama", "quantization.weights=float"], "int8"),
    ],
    ids=str,
)
def test_both_exports_have_the_loss_of_the_trainer(folder: Path, keys: list[str], activations: str) -> None:
    output = "-".join(keys).replace(".", "")
    result = run_training(folder / "run.toml", lambda line: None, [*ONE_LAYER, f"output={output}", *keys])
    assert result.gguf is not None and result.hf is not None
    for path in (result.gguf, result.hf):
        assert engine_loss(path, folder / "corpus.txt", activations) == pytest.approx(result.bits_per_byte, rel=0.01)


def test_binary_weights_are_what_the_numpy_quantiser_makes_of_the_latent_ones(folder: Path) -> None:
    keys = [*ONE_LAYER, "output=codes", "quantization.weights=binary", "training.steps=2"]
    result = run_training(folder / "run.toml", lambda line: None, keys)
    assert result.gguf is not None
    written = open_checkpoint(result.gguf).load().tensors["blk.0.ffn_up.weight"]
    with __import__("safetensors").safe_open(folder / "codes" / "state.safetensors", "np") as state:
        codes, scale = binary(state.get_tensor("model.blk.0.ffn_up.weight"))
    assert np.array_equal(ternary_codes(written)[0], codes) and written.scale == scale
    assert set(np.unique(codes)) == {-1, 1}


def test_float_weights_are_written_as_floats(folder: Path) -> None:
    keys = [*ONE_LAYER, "output=floats", "quantization.weights=float", "training.steps=2"]
    result = run_training(folder / "run.toml", lambda line: None, keys)
    assert result.gguf is not None
    written = decode(open_checkpoint(result.gguf).load().tensors["blk.0.attn_q.weight"])
    with __import__("safetensors").safe_open(folder / "floats" / "state.safetensors", "np") as state:
        np.testing.assert_array_equal(written, state.get_tensor("model.blk.0.attn_q.weight").astype(np.float16))


def test_a_form_that_cannot_hold_the_model_is_refused_in_one_sentence(folder: Path) -> None:
    lines: list[str] = []
    keys = [*ONE_LAYER, "output=untied", "model.tied_head=false", "training.steps=2"]
    result = run_training(folder / "run.toml", lines.append, keys)
    assert result.gguf is None and result.hf is not None
    assert lines[0].startswith("The run's export will be refused: This model has a head of its own")
    assert lines[-2].startswith("This model has a head of its own") and lines[-2].endswith(".")
    assert json.loads((folder / "untied" / "result.json").read_text())["gguf"] is None
    loss = engine_loss(result.hf, folder / "corpus.txt", "int8")
    assert loss == pytest.approx(result.bits_per_byte, rel=0.01)


def test_a_second_phase_with_activations_of_a48_goes_on_from_int8_and_has_no_export(folder: Path) -> None:
    keys = [*ONE_LAYER, "output=a48", "training.steps=4"]
    run_training(folder / "run.toml", lambda line: None, keys)
    lines: list[str] = []
    more = [*keys, "training.steps=6", "quantization.activations=a4.8"]
    result = run_training(folder / "run.toml", lines.append, more)
    assert result.steps == 6 and result.gguf is None and result.hf is None
    assert any("quantization.activations null -> a4.8" in line for line in lines)
    assert lines[-1].endswith("wrote no export")
    with pytest.raises(UnsupportedError, match="4-bit and sparse activations"):
        open_checkpoint(folder / "a48" / "state.safetensors")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["model.architecture=gemma3"], "model.architecture must be one of bitnet-b1.58"),
        (["model.head_dim=32"], "heads x head size"),
        (["model.num_heads=3", "model.num_kv_heads=3"], "or model.head_dim be given"),
        (["quantization.weights=int2"], "weights are ternary, binary or float"),
        (["quantization.activations=fp4"], "FP4 activations and the KV cache of 3 bits of BitNet a4.8"),
        (["quantization.activations=a4.8", "model.architecture=llama"], "needs the relu²"),
        (["quantization.activations=a4.8", "quantization.weights=binary"], "a4.8 activations are those of ternary"),
        (["quantization.activations=int8", "quantization.group_size=128"], "weights in groups take float"),
        (["quantization.activations=int8", "quantization.weights=float"], "float weights take float"),
        (["quantization.weights=float", "quantization.group_size=128"], "float weights have no groups"),
        (
            ["quantization.weights=binary", "quantization.group_size=64", "quantization.zero_share=0.1"],
            "no share of zeros",
        ),
        (
            ["model.intermediate_size=340", "quantization.group_size=64"],
            "must be a multiple of quantization.group_size",
        ),
        (["training.accumulation=3"], "a multiple of training.accumulation"),
        (["training.schedule=cosine"], 'belongs to training.schedule = "wsd"'),
        (["training.second_stage=0.5"], "belong together"),
        (["training.most_skipped=-1"], "must be finite and not negative"),
        (["watch.prompts=[]"], "must be a list that is not empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(folder: Path, keys: list[str], sentence: str) -> None:
    with pytest.raises(ArgumentError) as error:
        load_config(folder / "run.toml", keys)
    assert sentence in str(error.value) and str(error.value).endswith(".")
