"""The engine against the logits of bitnet.cpp and llama.cpp for the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.errors import ArgumentError
from sterna.files.gguf import read_gguf, write_gguf
from sterna.tensor.decode import ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.ternary import recode
from sterna.ternary.i2s import pack_i2s

from .helpers import DATA, GOLDEN, TOKENS, golden_logits, mean_kl, shared, top1_margin, top1_matches


@pytest.mark.parametrize(("model", "reference"), GOLDEN.values(), ids=GOLDEN)
def test_i2_s_models_agree_with_bitnet_cpp(model: str, reference: str) -> None:
    expected = golden_logits(DATA / reference)
    logits = LLM(DATA / model).logits(TOKENS)
    assert np.abs(logits[0] - expected[0]).max() < 2e-4
    matches = top1_matches(expected, logits)
    assert matches.sum() >= 45
    assert (top1_margin(expected)[~matches] < 1).all()
    assert mean_kl(expected, logits) < 2e-2


@pytest.mark.parametrize("layout", ["arm", "x86-rows"])
def test_the_other_i2_s_layouts_give_the_same_logits(tmp_path: Path, layout: str) -> None:
    path = DATA / GOLDEN["llama"][0]
    file = read_gguf(path)
    tensors = [
        replace(tensor, data=pack_i2s(ternary_codes(tensor)[0], layout)) if tensor.encoding.is_ternary else tensor
        for tensor in file.tensors.values()
    ]
    write_gguf(tmp_path / "other.gguf", file.metadata, tensors)
    expected = LLM(path).logits(TOKENS)
    assert np.array_equal(LLM(tmp_path / "other.gguf", i2s_layout=layout).logits(TOKENS), expected)
    assert not np.array_equal(LLM(tmp_path / "other.gguf").logits(TOKENS), expected)


def test_i2_s_layouts_are_named_and_belong_to_gguf_files(tmp_path: Path) -> None:
    path = DATA / GOLDEN["llama"][0]
    for model, layout, words in (
        (path, "neon", "x86, arm or x86-rows, not 'neon'"),
        (tmp_path, "arm", "folder"),
        (None, "arm", "GGUF"),
    ):
        with pytest.raises(ArgumentError, match=words):
            LLM(model, i2s_layout=layout)


@pytest.mark.parametrize("activations", ["int8", "float"])
@pytest.mark.parametrize("encoding", ["TQ1_0", "TQ2_0"])
def test_tq_models_agree_with_llama_cpp_and_hold_the_same_weights(encoding: str, activations: str) -> None:
    golden = shared("golden")
    expected = golden_logits(golden / f"llamacpp-{encoding}.logits.f32")
    llm = LLM(golden / f"tiny-bitnet-{encoding}.gguf", activations=activations)
    logits = llm.logits(TOKENS)
    # Measured: mean KL 1.6e-3 (int8) and 6e-4 (float), every top token the same; llama.cpp's activations are int8 too,
    # but in blocks of 256.
    assert top1_matches(expected, logits).mean() >= 0.9
    assert mean_kl(expected, logits) < 1e-2
    weights = np.load(golden / "tiny-weights.npz")
    for name, tensor in llm.checkpoint.tensors.items():
        if tensor.encoding.is_ternary:
            codes, scales = ternary_codes(tensor)
            assert np.array_equal(codes, weights[name])
            again, _ = recode(recode(tensor, Encoding.I2_S)[0], tensor.encoding)
            assert np.array_equal(again.data, tensor.data)
            assert len(set(np.ravel(scales)) - {0}) == 1


def test_the_f16_model_agrees_with_llama_cpp_on_the_float_path() -> None:
    golden = shared("golden")
    expected = golden_logits(golden / "llamacpp-f16.logits.f32")
    logits = LLM(golden / "tiny-bitnet-f16.gguf", activations="float").logits(TOKENS)
    assert top1_matches(expected, logits).all()
    assert mean_kl(expected, logits) < 1e-4
