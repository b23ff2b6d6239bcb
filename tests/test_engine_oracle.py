"""Every operation of the engine, fed the oracle's inputs, against the numpy oracle.

Both engines get the same values, so that a rounding tie before a matrix can neither hide nor cause a difference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.engine.llm import LLM
from sterna.model.config import ModelConfig
from sterna.model.operations import Embed, Linear
from sterna.tensor.decode import ternary_codes
from sterna.ternary import absmax

from .helpers import DATA, GEMMA3, QWEN3, TINY, TOKENS, mean_kl, oracle, tiny_checkpoint, top1_matches
from .operation_runs import run_operation


@pytest.mark.parametrize("name", ["tiny-bitnet-b158-i2_s.gguf", "tiny-llama-i2_s.gguf"])
def test_operations_and_integer_sums_equal_the_oracle(name: str) -> None:
    checkpoint = open_checkpoint(DATA / name).load()
    model, matrices = oracle(checkpoint), 0
    for step in model.steps(TOKENS):
        operation = step.operation
        if isinstance(operation, Embed):
            continue
        out = run_operation(model.plan, operation, step.inputs, checkpoint.tensors, kv="f16")
        np.testing.assert_allclose(out, step.out, rtol=1e-4, atol=1e-4)
        if isinstance(operation, Linear):
            # The integers behind the output, recovered by undoing its scales.
            codes, scale = ternary_codes(checkpoint.tensors[operation.weight])
            quantised, inverse = absmax(step.inputs[operation.x])
            sums = quantised.astype(np.int64) @ codes.T.astype(np.int64)
            assert np.array_equal(np.rint(out / np.float64(scale) * inverse), sums), operation.weight
            matrices += 1
    assert matrices == 7 * checkpoint.config.num_layers


@pytest.mark.parametrize("config", [GEMMA3, QWEN3, replace(TINY, num_kv_heads=1)], ids=lambda c: c.architecture)
@pytest.mark.parametrize("input_norms", [False, True])
@pytest.mark.parametrize("activations", ["int8", "float"])
def test_logits_of_ternary_models_agree_with_the_oracle(
    config: ModelConfig, input_norms: bool, activations: str
) -> None:
    checkpoint = tiny_checkpoint(config, input_norms=input_norms)
    tokens = np.random.default_rng(3).integers(0, config.vocab_size, 80).tolist()
    expected = oracle(checkpoint, "none" if activations == "float" else activations).logits(tokens)
    got = LLM(checkpoint, activations=activations).logits(tokens)
    assert mean_kl(expected, got) < (2e-3 if activations == "int8" else 1e-5)
    assert top1_matches(expected, got).mean() >= (0.9 if activations == "int8" else 0.98)
