"""Random models in published shapes, from which speed is measured."""

from __future__ import annotations

import numpy as np
import pytest

from sterna.bench import synthetic
from sterna.bench.synthetic import SHAPES, Shape, synthetic_checkpoint
from sterna.model.config import ModelConfig
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


@pytest.mark.parametrize(("name", "parameters"), [("bonsai-1.7b", 1.72e9), ("bonsai-8b", 8.19e9)])
def test_bonsai_shapes_have_the_published_sizes(name: str, parameters: float) -> None:
    shape = SHAPES[name]
    head_dim = shape.hidden_size // shape.num_heads
    attention = 2 * shape.hidden_size * head_dim * (shape.num_heads + shape.num_kv_heads)
    layers = shape.num_layers * (attention + 3 * shape.hidden_size * shape.intermediate_size)
    tables = shape.vocab_size * shape.hidden_size * (1 if shape.tied_head else 2)
    assert layers + tables == pytest.approx(parameters, rel=0.01)
