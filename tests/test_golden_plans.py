"""The engine against golden plans (`tests/golden_plans.py`): every operation, every slot, every way to multiply."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sterna import _native
from sterna.engine.backend import Span
from sterna.engine.machine import choose_isa
from sterna.engine.native import NativeBackend
from sterna.errors import FormatError
from sterna.model.operations import KINDS, Embed, reads
from sterna.model.plan import Head, Plan

from .golden_plans import NAMES, GoldenPlan, build, read
from .operation_runs import run_operation


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> GoldenPlan:
    return read(request.param)


def close(got: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(got - expected).max() <= 1e-5 * np.abs(expected).max())


def test_every_operation_gives_its_vectors_on_every_isa(golden: GoldenPlan) -> None:
    slots: dict[str, np.ndarray] = {}
    for operation, expected in zip(golden.plan.operations, golden.steps, strict=True):
        inputs = {name: slots[name] for name in reads(operation)}
        slots[operation.out] = expected
        if isinstance(operation, Embed):
            continue
        results = [
            run_operation(golden.plan, operation, inputs, golden.tensors, isa) for isa in _native.available_isas()
        ]
        assert close(results[0], expected), operation
        assert all(np.array_equal(result, results[0]) for result in results), operation


def test_embeddings_are_the_rows_of_the_tokens(golden: GoldenPlan) -> None:
    plan, n = golden.plan, len(golden.tokens)
    cut = replace(
        plan, operations=plan.operations[:1], output=plan.operations[0].out, head=Head(plan.operations[0].weight)
    )
    backend = NativeBackend(cut, golden.tensors, isa=choose_isa(), threads=1, blocks=1)
    rows = backend.forward([Span(golden.tokens, 0, [[0]] * len(backend.pools), n)])
    assert np.array_equal(rows, golden.steps[0])


@pytest.mark.parametrize("name", NAMES)
def test_golden_plans_are_what_the_architectures_and_the_oracle_say(name: str) -> None:
    stored, made = read(name), build(name)
    assert json.loads(json.dumps(stored.plan.to_dict())) == json.loads(json.dumps(made.plan.to_dict()))
    assert all(close(a, b) for a, b in zip(stored.steps, made.steps, strict=True))


def test_golden_plans_hold_every_operation() -> None:
    held = {type(operation) for name in NAMES for operation in read(name).plan.operations}
    assert held == set(KINDS.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2"),
        ({"version": None}, "version None"),
        ({"operations": [{"kind": "teleport", "out": "x"}]}, "teleport"),
        ({"operations": [{"kind": "add", "out": "x", "x": "x"}]}, "Add"),
        ({"operations": [{"kind": "add", "out": "x", "x": "x", "y": 5}]}, "y of Add"),
        ({"operations": [{"kind": "scale", "out": "x", "x": "x", "factor": True}]}, "factor"),
        ({"caches": {"full": {"layers": 1.5, "kv_heads": 1, "head_dim": 64}}}, "layers"),
        ({"caches": []}, "malformed"),
        ({"head": {"weight": "w", "colour": "red"}}, "Head"),
        ({"colour": "red"}, "Plan"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_plan_is_refused(change: dict[str, object], words: str) -> None:
    values = json.loads(json.dumps(read("bitnet").plan.to_dict()))
    with pytest.raises(FormatError, match=words):
        Plan.from_dict(values | change)
