"""Every layer of the engine, fed the oracle's inputs, against the numpy oracle."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.tensor import Encoding, Tensor
from sterna.engine.machine import choose_isa
from sterna.engine.runner import Runner, Span
from sterna.model.architectures import build_plan
from sterna.ternary.oracle import Oracle

from .helpers import DATA, oracle_weights

TOKENS = json.loads((DATA / "tokens.json").read_text())


def run_layer(checkpoint: Checkpoint, layer: int, x: np.ndarray, output: str) -> np.ndarray:
    """Slot `output` after its first write in one layer, whose input rows x come in as an embedding table."""
    config = replace(checkpoint.config, num_layers=1, vocab_size=len(x), tied_head=True)
    prefix = f"blk.{layer}."
    tensors = {
        name.replace(prefix, "blk.0."): replace(tensor, name=name.replace(prefix, "blk.0."))
        for name, tensor in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    data = np.ascontiguousarray(x, np.float32)
    tensors["token_embd.weight"] = Tensor("token_embd.weight", x.shape, Encoding.F32, data.reshape(-1).view(np.uint8))
    tensors["output_norm.weight"] = checkpoint.tensors["output_norm.weight"]
    plan = build_plan(config, tensors)
    if output == "x":
        plan.operations.pop()
    else:
        last = next(i for i, op in enumerate(plan.operations) if op["kind"] == "linear" and op["weight"] == output)
        del plan.operations[last + 1 :]
        output = plan.operations[last]["out"]
    # The head is not asked for; any matrix as wide as the output slot will do.
    plan.output, width = output, plan.slots[output]
    plan.head = "probe"
    tensors["probe"] = Tensor("probe", (1, width), Encoding.F32, np.zeros(4 * width, np.uint8))
    runner = Runner(plan, tensors, isa=choose_isa(), threads=2, blocks=2)
    return runner.forward([Span(range(len(x)), 0, [0, 1], "all")])


@pytest.mark.parametrize("name", ["tiny-bitnet-b158-i2_s.gguf", "tiny-llama-i2_s.gguf"])
def test_layers_and_integer_sums_equal_the_oracle(name: str) -> None:
    checkpoint = open_checkpoint(DATA / name)
    oracle = Oracle(checkpoint.config, oracle_weights(checkpoint))
    trace: dict[str, np.ndarray] = {}
    oracle.logits(TOKENS, trace)
    for layer in range(checkpoint.config.num_layers):
        x = trace[f"blk.{layer}.input"]
        np.testing.assert_allclose(
            run_layer(checkpoint, layer, x, "x"), trace[f"blk.{layer}.output"], rtol=1e-4, atol=1e-4
        )
        for matrix in ("attn_q", "attn_k", "attn_v"):
            key = f"blk.{layer}.{matrix}"
            _, scale = oracle.weights[f"{key}.weight"]
            out = run_layer(checkpoint, layer, x, f"blk.0.{matrix}.weight")
            sums = np.rint(out.astype(np.float64) / scale * trace[f"{key}.scale"])
            assert np.array_equal(sums, trace[f"{key}.sums"])
