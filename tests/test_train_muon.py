"""Muon takes torch's steps, for all matrices of a shape together."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sterna.train.muon import Muon, orthogonal  # noqa: E402


def test_singular_values_become_about_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 48, 32), (2, 32, 48), (1, 32, 32)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape).bfloat16()).float())
        assert values.max() < 1.25 and values.median() > 0.6


def test_steps_are_those_of_torchs_muon() -> None:
    torch.manual_seed(1)
    shapes = [(48, 32), (32, 48), (48, 32)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in ours]
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon(ours, lr=0.01)
    optimizer.param_groups[0]["weight_decay"] = 0.1
    for _ in range(3):
        for own, other in zip(ours, theirs, strict=True):
            own.grad = torch.randn(own.shape)
            other.grad = own.grad.clone()
        optimizer.step()
        reference.step()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=3e-4)  # bfloat16 keeps 3 digits of a step of about 0.01
        assert torch.equal(optimizer.state[own]["momentum_buffer"], reference.state[other]["momentum_buffer"])


def test_in_float32_a_gradient_that_differs_in_its_last_bit_makes_nearly_the_same_step() -> None:
    torch.manual_seed(2)
    gradient = torch.randn(48, 32)
    other = gradient * (1 + 2.0**-23 * torch.randint(-1, 2, gradient.shape))
    steps = [orthogonal(each[None]) for each in (gradient, other)]
    assert not torch.equal(*steps)
    torch.testing.assert_close(*steps, rtol=0, atol=1e-5)  # in bfloat16 5e-3, where an entry rounds differently
