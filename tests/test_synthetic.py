"""Random models in published shapes, from which speed is measured."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from sterna import LLM
from sterna.bench import synthetic
from sterna.bench.synthetic import SHAPES, Shape, config_of, synthetic_checkpoint
from sterna.model.config import ModelConfig
from sterna.model.validate import tensor_shapes
from sterna.tensor.decode import ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor


def tiny(monkeypatch: pytest.MonkeyPatch, name: str, shape: Shape) -> tuple[ModelConfig, dict[str, Tensor]]:
    monkeypatch.setitem(SHAPES, "tiny", shape)
    monkeypatch.setattr(synthetic, "CONTEXT_LENGTH", 64)
    loaded = synthetic_checkpoint(name).load()
    return loaded.config, dict(loaded.tensors)


@pytest.mark.parametrize(
    ("name", "encoding", "zeros"),
    [
        ("tiny", Encoding.PQ2_0, 42 / 128),
        ("tiny:ptq1_0", Encoding.PTQ1_0, 42 / 128),
        ("tiny:q2_0", Encoding.Q2_0, 42 / 128),
        ("tiny:q1_0", Encoding.Q1_0, 0),
    ],
)
def test_a_bonsai_shape_is_ternary_throughout(
    monkeypatch: pytest.MonkeyPatch, name: str, encoding: Encoding, zeros: float
) -> None:
    shape = Shape("qwen3", 512, 1024, 1, 4, 2, 640, Encoding.PQ2_0, tied_head=False)
    config, tensors = tiny(monkeypatch, name, shape)
    matrices = [tensor for tensor in tensors.values() if len(tensor.shape) == 2]
    assert {tensor.encoding for tensor in matrices} == {encoding} and "output.weight" in tensors
    assert config.head_dim == 128 and not config.tied_head
    codes = ternary_codes(tensors["blk.0.ffn_up.weight"])[0]
    assert set(np.unique(codes)) <= {-1, 0, 1} and np.mean(codes == 0) == pytest.approx(zeros, abs=0.01)


def test_other_shapes_keep_a_head_in_q6_k(monkeypatch: pytest.MonkeyPatch) -> None:
    _, tensors = tiny(monkeypatch, "tiny:q4_k", Shape("llama", 256, 512, 1, 2, 1, 384))
    assert tensors["token_embd.weight"].encoding is Encoding.Q6_K
    assert tensors["blk.0.ffn_up.weight"].encoding is Encoding.Q4_K


def test_a_paroquant_shape_has_int4_matrices_with_rotations_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    _, tensors = tiny(monkeypatch, "tiny:paroquant", Shape("llama", 256, 512, 1, 2, 1, 384))
    assert tensors["blk.0.ffn_up.weight"].encoding is Encoding.INT4_G128
    assert tensors["blk.0.ffn_up_rotation.pairs"].shape == (8, 256)
    assert np.isfinite(LLM(synthetic_checkpoint("tiny:paroquant")).logits([1, 2, 3])).all()


def test_a_hybrid_of_bonsai_2_is_rotated_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(
        "qwen35", 256, 512, 4, 4, 2, 384, Encoding.PQ2_0, tied_head=False, head_dim=64, value_heads=32, rotated=128
    )
    config, tensors = tiny(monkeypatch, "tiny", shape)
    floats = {name for name, tensor in tensors.items() if tensor.encoding is Encoding.F32 and len(tensor.shape) == 2}
    assert floats == {f"blk.{i}.ssm_{name}.weight" for i in range(3) for name in ("alpha", "beta", "conv1d")}
    assert config.hadamard is not None and config.delta_net is not None and config.delta_net.layers == (0, 1, 2)
    assert config.hadamard.weights == {
        name for name, tensor in tensors.items() if tensor.encoding is Encoding.PQ2_0
    } - {"token_embd.weight"}
    assert np.isfinite(LLM(synthetic_checkpoint("tiny"), threads=1).logits([1, 2, 3])).all()


@pytest.mark.parametrize(
    ("name", "parameters", "layers"),
    [
        ("bonsai-1.7b", 1.72e9, 28),
        ("bonsai-8b", 8.19e9, 36),
        ("bonsai2-4b", 4.2e9, 32),
        ("bonsai2-27b-layer", 27e9, 64),
    ],
)
def test_bonsai_shapes_have_the_published_sizes(name: str, parameters: float, layers: int) -> None:
    shape = SHAPES[name]
    vocab_size = 248320 if name.endswith("layer") else shape.vocab_size
    sizes = tensor_shapes(config_of(replace(shape, num_layers=layers, vocab_size=vocab_size)))
    assert sum(map(math.prod, sizes.values())) == pytest.approx(parameters, rel=0.02)
