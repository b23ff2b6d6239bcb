"""The engine against logits that bitnet.cpp and llama.cpp gave for the same files (provenance: tests/data/README.md)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sterna import LLM

from .helpers import DATA, shared

TOKENS = json.loads((DATA / "tokens.json").read_text())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def mean_kl(reference: np.ndarray, ours: np.ndarray) -> float:
    p, q = log_softmax(reference), log_softmax(ours)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        ("tiny-bitnet-b158-i2_s.gguf", "bitnetcpp-i2_s.logits.f32"),
        ("tiny-llama-i2_s.gguf", "bitnetcpp-llama-i2_s.logits.f32"),
    ],
)
def test_i2_s_models_agree_with_bitnet_cpp(model: str, reference: str) -> None:
    expected = np.fromfile(DATA / reference, np.float32).reshape(48, 512)
    logits = LLM(DATA / model).logits(TOKENS)
    assert np.abs(logits[0] - expected[0]).max() < 2e-4
    differing = np.flatnonzero(logits.argmax(axis=1) != expected.argmax(axis=1))
    assert len(differing) <= 3
    margins = np.sort(expected[differing], axis=1)
    assert (margins[:, -1] - margins[:, -2] < 1).all()
    assert mean_kl(expected, logits) < 2e-2


def test_the_f16_model_agrees_with_llama_cpp_on_the_float_path() -> None:
    golden = shared("golden")
    expected = np.fromfile(golden / "llamacpp-f16.logits.f32", np.float32).reshape(48, 512)
    logits = LLM(golden / "tiny-bitnet-f16.gguf", activations="float").logits(TOKENS)
    assert np.array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
    assert mean_kl(expected, logits) < 1e-4
