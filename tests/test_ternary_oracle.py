from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.model.oracle import rope
from sterna.tensor import decode
from sterna.tensor.encodings import Encoding
from sterna.ternary import unpack_i2s

from . import helpers


@pytest.mark.parametrize("architecture", helpers.GOLDEN)
def test_oracle_agrees_with_bitnet_cpp(architecture: str) -> None:
    model, logits = helpers.GOLDEN[architecture]
    checkpoint = open_checkpoint(helpers.DATA / model).load()
    reference = helpers.golden_logits(helpers.DATA / logits)
    ours = helpers.oracle(checkpoint).logits(helpers.TOKENS)
    assert ours.dtype == np.float32
    assert np.abs(ours[0] - reference[0]).max() < 2e-4
    same = helpers.top1_matches(reference, ours)
    assert same.sum() >= 45 and np.all(helpers.top1_margin(reference)[~same] < 1)
    assert helpers.mean_kl(reference, ours) < 2e-2


def test_oracle_agrees_with_llama_cpp_in_float() -> None:
    checkpoint = open_checkpoint(helpers.shared("golden", "tiny-bitnet-f16.gguf")).load()
    reference = helpers.golden_logits(helpers.shared("golden", "llamacpp-f16.logits.f32"))
    ours = helpers.oracle(checkpoint, "none").logits(helpers.TOKENS)
    assert helpers.top1_matches(reference, ours).all()
    assert helpers.mean_kl(reference, ours) < 1e-4


def test_golden_file_decodes_to_the_weights_it_was_made_of() -> None:
    exact = np.load(helpers.shared("golden", "tiny-weights.npz"))
    tensors = open_checkpoint(helpers.DATA / "tiny-bitnet-b158-i2_s.gguf").load().tensors
    for name, tensor in tensors.items():
        ternary = tensor.encoding is Encoding.I2_S
        values = unpack_i2s(tensor.data, tensor.shape, strict=True) if ternary else decode.decode(tensor)
        assert np.array_equal(values, exact[name])


def test_a_token_does_not_see_later_ones() -> None:
    oracle = helpers.oracle((helpers.TINY, helpers.tiny_tensors()))
    tokens = [1, 5, 9, 2, 44]
    assert np.allclose(oracle.logits(tokens)[:3], oracle.logits(tokens[:3]), atol=1e-4)


def test_steps_compose_to_the_whole_pass() -> None:
    oracle = helpers.oracle((helpers.TINY, helpers.tiny_tensors(input_norms=True)))
    steps = list(oracle.steps([3, 1, 4, 1, 5]))
    assert [step.operation for step in steps] == oracle.plan.operations
    slots: dict[str, np.ndarray] = {}
    for step in steps:
        assert all(np.array_equal(values, slots[name]) for name, values in step.inputs.items())
        slots[step.operation.out] = step.out
    assert np.array_equal(slots["hidden"], oracle.hidden([3, 1, 4, 1, 5]))


def test_rope_styles_are_one_rotation_under_a_permutation() -> None:
    x = np.random.default_rng(0).standard_normal((6, 2, 8)).astype(np.float32)
    positions = np.arange(6)
    half = rope(x, positions, [10000.0] * 4, "half")
    order = np.arange(8).reshape(2, 4).T.reshape(-1)
    assert np.array_equal(rope(x[..., order], positions, [10000.0] * 4, "interleaved"), half[..., order])
    assert np.array_equal(half[0], x[0])
    assert np.allclose(np.linalg.norm(half, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_float_activations_are_close_to_int8_ones() -> None:
    config = replace(helpers.TINY, architecture="llama", activation="silu", tied_head=False)
    tensors = helpers.tiny_tensors(config)
    int8, full = (helpers.oracle((config, tensors), kind).logits([7, 8, 9]) for kind in ("int8", "none"))
    assert 0 < helpers.relative_error(full, int8) < 0.1
