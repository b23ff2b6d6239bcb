"""Warm-up quantisation and distillation losses against golden data, and inserted norms."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from sterna.finetune.distillation import logits_divergence, relation_divergence  # noqa: E402
from sterna.finetune.warmup import WarmUpLinear, quantised_share, rescale_to_least_squares  # noqa: E402
from sterna.ternary.quantization import Quantization  # noqa: E402
from sterna.train.bitlinear import BitLinear  # noqa: E402

from ..helpers import shared  # noqa: E402


def warm_layer(golden: dict[str, Tensor], share: float) -> WarmUpLinear:
    rows, columns = golden["w"].shape
    layer = WarmUpLinear(columns, rows, 1.0)
    with torch.no_grad():
        layer.weight.copy_(golden["w"])
    layer.share = share
    return layer


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_values_and_gradients_are_those_of_the_published_formula(share: float) -> None:
    golden = load_file(shared("golden-finetune", "warmup-lambda.safetensors"))
    layer, x = warm_layer(golden, share), golden["x"].clone().requires_grad_()
    y = layer(x)
    y.backward(golden["grad_y"])
    assert layer.weight.grad is not None and x.grad is not None
    for own, name in ((y, "y"), (layer.weight.grad, "grad_w"), (x.grad, "grad_x")):
        assert (own - golden[f"lambda={share}.{name}"]).abs().max() < 1e-5, name


def test_a_layer_begins_as_a_float_one_and_ends_as_bitlinear() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 64)
    layer, ternary = WarmUpLinear(64, 48, 0.1), BitLinear(64, 48, 0.1)
    ternary.weight = layer.weight
    layer.share = 0.0
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-6)
    layer.share = 1.0
    assert torch.equal(layer(x), ternary(x))
    layer.share = 1 - 1e-7
    assert torch.allclose(layer(x), ternary(x), atol=1e-5)


def test_schedules_are_the_published_ones() -> None:
    golden = json.loads(shared("golden-finetune", "lambda-schedules.json").read_text())
    total, steps = golden["total_steps"], golden["steps"]
    checked = 0
    for name, values in golden.items():
        if name in ("total_steps", "steps"):
            continue
        schedule, _, k = name.partition(" ")
        warmup = {"linear": total // 2, "linear1000": 1000}.get(schedule, total)
        steepness = float(k.removeprefix("k=")) if k.startswith("k=") else None
        own = [quantised_share(schedule.removesuffix("1000"), step, warmup, steepness) for step in steps]
        assert own == pytest.approx(values, abs=1e-12), name
        checked += 1
    assert checked == len(golden) - 2
    assert quantised_share("sigmoid", 2001, total, 15.0) == 1.0
    assert quantised_share("none", 0, total) == 1.0


def test_least_squares_keeps_codes_and_lessens_the_error() -> None:
    torch.manual_seed(0)
    layer = BitLinear(64, 48, 0.1)
    weight, before = layer.weight.detach().clone(), layer.values()
    rescale_to_least_squares(layer)
    after = layer.values()
    assert torch.equal(after.sign(), before.sign())
    assert (weight - after).square().sum() < 0.9 * (weight - before).square().sum()
    grouped = BitLinear(64, 48, 0.1, Quantization("float", activations="float"))
    kept = grouped.weight.detach().clone()
    rescale_to_least_squares(grouped)
    assert torch.equal(grouped.weight, kept)


def test_losses_of_distillation_are_those_of_its_first_author() -> None:
    golden = load_file(shared("golden-finetune", "distill-losses.safetensors"))
    rows = len(golden["student.logits"])
    for tau in (1.0, 5.0):
        divergence = logits_divergence(golden["student.logits"], golden["teacher.logits"], tau).item() / rows
        assert divergence == pytest.approx(golden[f"logits_kl.tau={tau}"].item(), abs=1e-5)
    heads, total = 8, 0.0
    for name in "qkv":
        student, teacher = golden[f"student.{name}"], golden[f"teacher.{name}"]
        own = sum(relation_divergence(s, t, heads).item() for s, t in zip(student, teacher, strict=True))
        own /= heads * student.shape[0] * student.shape[1]
        assert own == pytest.approx(golden[f"relation_kl.{name}"].item(), abs=1e-5)
        total += own
    assert total == pytest.approx(golden["relation_kl.sum"].item(), abs=1e-5)
    assert total / heads == pytest.approx(golden["relation_kl.official"].item(), abs=1e-5)
