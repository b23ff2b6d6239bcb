"""Every layer of the engine, fed the oracle's inputs, against the numpy oracle.

A layer is cut where activations become int8: in front of the output projections both engines get the same values, so
that a rounding tie cannot hide or feign a difference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.engine.llm import LLM
from sterna.engine.machine import choose_isa
from sterna.engine.runner import Runner, Span
from sterna.model.architectures import build_plan
from sterna.model.config import ModelConfig
from sterna.tensor.decode import oracle_weights
from sterna.tensor.tensor import Tensor
from sterna.ternary.oracle import Oracle

from .helpers import DATA, GEMMA3, QWEN3, TINY, TOKENS, float_tensor, mean_kl, tiny_checkpoint, top1_matches


class Layer:
    """One layer of a checkpoint as a plan of its own, any piece of which can run."""

    def __init__(self, checkpoint: Checkpoint, index: int) -> None:
        prefix = f"blk.{index}."
        config = replace(checkpoint.config, num_layers=1, vocab_size=len(TOKENS), tied_head=True)
        own = [t for name, t in checkpoint.tensors.items() if name.startswith(prefix)]
        self.tensors: dict[str, Tensor] = {
            name: replace(tensor, name=name) for tensor in own for name in [tensor.name.replace(prefix, "blk.0.")]
        }
        self.plan = build_plan(config, self.tensors)

    def run(self, first: str, last: str, x: np.ndarray) -> np.ndarray:
        """What the operation that `last` names (its tensor, or its kind) gives for rows x.

        They enter as an embedding table, in front of the operation that uses tensor `first`.
        """
        ops = self.plan.operations
        begin = next(i for i, op in enumerate(ops) if op.get("weight") == f"blk.0.{first}.weight")
        end = next(i for i, op in enumerate(ops) if i >= begin and last in (op["kind"], op.get("weight", "")[6:-7]))
        table = float_tensor("table", x)
        embed = {"kind": "embed", "out": ops[begin]["x"], "weight": "table"}
        output = ops[end]["out"]
        head = float_tensor("head", np.zeros((1, self.plan.slots[output])))
        plan = replace(self.plan, operations=[embed, *ops[begin : end + 1]], output=output, head="head")
        tensors = {**self.tensors, "table": table, "head": head}
        runner = Runner(plan, tensors, isa=choose_isa(), threads=2, blocks=1)
        return runner.forward([Span(range(len(x)), 0, [0], len(x))])


@pytest.mark.parametrize("name", ["tiny-bitnet-b158-i2_s.gguf", "tiny-llama-i2_s.gguf"])
def test_layers_and_integer_sums_equal_the_oracle(name: str) -> None:
    checkpoint = open_checkpoint(DATA / name).load()
    weights = oracle_weights(checkpoint.tensors)
    oracle = Oracle(checkpoint.config, weights)
    trace: dict[str, np.ndarray] = {}
    oracle.logits(TOKENS, trace)

    for index in range(checkpoint.config.num_layers):
        layer, block = Layer(checkpoint, index), f"blk.{index}"
        sub_norms = f"{block}.attn_sub_norm.weight" in weights
        x = trace[f"{block}.input"]
        attention, gated = trace[f"{block}.attention"], trace[f"{block}.gated"]
        residual = trace[f"{block}.attn_residual"]
        np.testing.assert_allclose(layer.run("attn_norm", "attention", x), attention, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(layer.run("ffn_norm", "gated", residual), gated, rtol=1e-4, atol=1e-4)
        before_output, before_down = ("attn_sub_norm", "ffn_sub_norm") if sub_norms else ("attn_output", "ffn_down")
        for matrix, first, values in (
            ("attn_q", "attn_norm", x),
            ("attn_k", "attn_norm", x),
            ("attn_v", "attn_norm", x),
            ("attn_output", before_output, attention),
            ("ffn_gate", "ffn_norm", residual),
            ("ffn_up", "ffn_norm", residual),
            ("ffn_down", before_down, gated),
        ):
            out = layer.run(first, matrix, values)
            # The integers behind the output, recovered by undoing its scales.
            key = f"{block}.{matrix}"
            _, scale = weights[f"{key}.weight"]
            assert np.array_equal(np.rint(out / np.float64(scale) * trace[f"{key}.scale"]), trace[f"{key}.sums"]), key
        np.testing.assert_allclose(residual + out, trace[f"{block}.output"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [GEMMA3, QWEN3, replace(TINY, num_kv_heads=1)], ids=lambda c: c.architecture)
@pytest.mark.parametrize("input_norms", [False, True])
@pytest.mark.parametrize("activations", ["int8", "float"])
def test_logits_of_ternary_models_agree_with_the_oracle(
    config: ModelConfig, input_norms: bool, activations: str
) -> None:
    checkpoint = tiny_checkpoint(config, input_norms=input_norms)
    tokens = np.random.default_rng(3).integers(0, config.vocab_size, 80).tolist()
    expected = Oracle(checkpoint.config, oracle_weights(checkpoint.tensors), activations).logits(tokens)
    got = LLM(checkpoint, activations=activations).logits(tokens)
    assert mean_kl(expected, got) < (2e-3 if activations == "int8" else 1e-5)
    assert top1_matches(expected, got).mean() >= (0.9 if activations == "int8" else 0.98)
