"""What one step computes is what its operations say in their order, or the plan is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sterna.errors import UnsupportedError
from sterna.gpu.fuse import fuse
from sterna.gpu.steps import AttentionStep, HeadsStep
from sterna.model.operations import Attention, Norm, Operation, Rope
from sterna.model.plan import CacheGroup, Head, Plan

NORMS: list[Operation] = [Norm("q", "q", "a", 1e-6, 2), Norm("k", "k", "b", 1e-6, 1)]
ROPES: list[Operation] = [Rope("q", "q", 2, "half", "near"), Rope("k", "k", 1, "half", "near")]


def steps_of(before: list[Operation]) -> list[type]:
    slots = {"q": 16, "k": 8, "v": 8, "a": 16}
    plan = Plan(8, Head("w"), "a", slots, {"full": CacheGroup(1, 1, 8, None)})
    plan.operations += [*before, Attention("a", "q", "k", "v", "full", 0, 2, 0.3)]
    return [type(step) for step in fuse(plan, lambda name: None).steps]


@pytest.mark.parametrize("before", [ROPES, [*NORMS, *ROPES]])
def test_norms_and_rotations_before_an_attention_are_one_step(before: list[Operation]) -> None:
    assert steps_of(before) == [HeadsStep, AttentionStep]


@pytest.mark.parametrize(
    "before",
    [
        [*ROPES, *NORMS],
        [*ROPES[:1], *NORMS, *ROPES[1:]],
        [NORMS[0], *ROPES],
        NORMS,
        [replace(NORMS[0], heads=1), NORMS[1], *ROPES],
        [NORMS[0], replace(NORMS[1], eps=1e-5), *ROPES],
        [ROPES[0], replace(ROPES[1], frequencies="far")],
    ],
)
def test_others_are_refused(before: list[Operation]) -> None:
    with pytest.raises(UnsupportedError, match="The attention of this plan"):
        steps_of(before)
