"""Where the slots of a plan lie. What one kernel reads lies side by side: q, k and v of an attention, and a gate with
what it is multiplied with. So one kernel can write them, too."""

from __future__ import annotations

from collections.abc import Iterator

from sterna.model.operations import Attention, Gated
from sterna.model.plan import Plan


def placed(plan: Plan) -> list[tuple[str, ...]]:
    """The slots of a plan, those together that lie side by side, in their order."""
    found: dict[str, tuple[str, ...]] = {}
    for names in _wanted_together(plan):
        fresh = tuple(dict.fromkeys(name for name in names if name not in found))
        found |= dict.fromkeys(fresh, fresh)
    return list(dict.fromkeys(found.values()))


def side_by_side(plan: Plan) -> dict[str, str]:
    """By each slot that has one, the slot after it."""
    return {name: after for names in placed(plan) for name, after in zip(names, names[1:], strict=False)}


def _wanted_together(plan: Plan) -> Iterator[tuple[str, ...]]:
    for operation in plan.operations:
        if isinstance(operation, Attention):
            yield operation.q, operation.k, operation.v
        elif isinstance(operation, Gated):
            yield operation.gate, operation.up
    for name in plan.slots:
        yield (name,)
