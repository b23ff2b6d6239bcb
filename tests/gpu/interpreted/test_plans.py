"""The steps of golden plans, fed the oracle's rows: every operation, and matrices in every encoding."""

from __future__ import annotations

import pytest

from sterna.errors import UnsupportedError
from tests.golden_plans import NAMES, read

from .units import Unit, close, run, units


def unsupported(unit: Unit) -> bool:
    """Whether a product is one that the GPU's engine refuses: of other encodings, or, of ternary codes, with scales for
    groups of activations."""
    first = unit.operations[0]
    name, _, activations = first.out.partition(" ")
    others = ("q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "iq4_nl")
    return activations == "int15" and name in others or activations in ("int8 64", "int8 128")


QUICK = ("bitnet", "int4")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in (*QUICK, "hybrid")]


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_every_operation_gives_the_oracles_rows(name: str) -> None:
    golden = read(name)
    for unit in units(golden):
        for n in {1, len(golden.tokens)}:
            inputs = {slot: rows[:n] for slot, rows in unit.inputs.items()}
            if unsupported(unit):
                with pytest.raises(UnsupportedError, match="use the device cpu"):
                    run(golden.plan, unit.operations, golden.tensors, inputs, golden.tokens[:n])
                continue
            got = run(golden.plan, unit.operations, golden.tensors, inputs, golden.tokens[:n])
            assert close(got, unit.expected[:n]), (unit.operations, n)
