"""The engine against logits that bitnet.cpp and llama.cpp gave for the same files."""

from __future__ import annotations

import numpy as np
import pytest

from sterna import LLM

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


def test_the_f16_model_agrees_with_llama_cpp_on_the_float_path() -> None:
    golden = shared("golden")
    expected = golden_logits(golden / "llamacpp-f16.logits.f32")
    logits = LLM(golden / "tiny-bitnet-f16.gguf", activations="float").logits(TOKENS)
    assert top1_matches(expected, logits).all()
    assert mean_kl(expected, logits) < 1e-4
