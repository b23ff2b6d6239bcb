"""A forward pass as data: named slots, and operations on them. Every engine (CPU, browser, GPU) runs the same plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sterna.errors import FormatError
from sterna.model.operations import KINDS, Operation, weights

VERSION = 1
"""Version of the plan's JSON, which grows when the meaning of a plan changes."""

T = TypeVar("T")


@dataclass(frozen=True)
class CacheGroup:
    """Layers whose keys and values have the same shape and window: `layers` layers with `kv_heads` heads of `head_dim`
    values. A token sees `window` positions, its own among them; None: all up to its own."""

    layers: int
    kv_heads: int
    head_dim: int
    window: int | None = None


@dataclass(frozen=True)
class StateGroup:
    """Layers whose states have the same shape (`Conv`, `DeltaRule`): `key_heads` heads of `key_dim` values for q and
    for k, `value_heads` heads of `value_dim` values, and a convolution over `conv_width` positions."""

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_width: int

    @property
    def channels(self) -> int:
        """The columns of the convolution: those of q, k and v."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


@dataclass(frozen=True)
class Head:
    """The output matrix `[vocab_size, hidden_size]`, and how hidden rows are quantised for it (`Linear`)."""

    weight: str
    activations: str = "none"
    group_size: int = 0


@dataclass
class Plan:
    """Operations in order, and what they refer to."""

    vocab_size: int
    head: Head
    output: str
    """Slot of the hidden rows that the head reads."""
    slots: dict[str, int] = field(default_factory=dict)
    """The width of each slot."""
    caches: dict[str, CacheGroup] = field(default_factory=dict)
    states: dict[str, StateGroup] = field(default_factory=dict)
    frequencies: dict[str, list[float]] = field(default_factory=dict)
    """Rotary frequencies in radians a position, one for each rotated pair."""
    signs: dict[str, list[int]] = field(default_factory=dict)
    """Lists of 1 and -1, one for each column (`Hadamard`)."""
    operations: list[Operation] = field(default_factory=list)
    version: int = VERSION

    def weights(self) -> set[str]:
        """The tensors that the plan needs."""
        return {name for operation in self.operations for name in weights(operation)} | {self.head.weight}

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON-ready values; operations by their `kind` and fields."""
        values = asdict(self)
        values["operations"] = [
            {"kind": type(operation).__name__.lower(), **asdict(operation)} for operation in self.operations
        ]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """The plan of `to_dict`. Raises FormatError for another version, and for what is no plan."""
        if values.get("version") != VERSION:
            raise FormatError(f"The plan has the version {values.get('version')!r}, and Sterna reads {VERSION}.")
        try:
            operations = [
                _read(KINDS[operation["kind"]], {k: v for k, v in operation.items() if k != "kind"})
                for operation in values["operations"]
            ]
            caches = {name: _read(CacheGroup, group) for name, group in values["caches"].items()}
            states = {name: _read(StateGroup, group) for name, group in values.get("states", {}).items()}
            head = _read(Head, values["head"])
            return _read(cls, {**values, "operations": operations, "caches": caches, "states": states, "head": head})
        except (KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"The plan is malformed: {error}.") from error


def _read(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass of exactly these values. Raises TypeError where one is missing, unknown, or a number or name of the
    wrong type."""
    hints = get_type_hints(kind)
    known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    needed = {
        entry.name
        for entry in fields(kind)  # type: ignore[arg-type]
        if entry.default is MISSING and entry.default_factory is MISSING
    }
    if not needed <= values.keys() <= known:
        raise TypeError(f"{kind.__name__} has {sorted(values)}, and needs {sorted(needed)}")
    for name, value in values.items():
        hint = hints[name]
        options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        kinds = tuple(getattr(option, "__supertype__", option) for option in options)
        if isinstance(value, bool) or not any(_is(value, wanted) for wanted in kinds):
            raise TypeError(f"{name} of {kind.__name__} is {value!r}")
    return kind(**values)


def _is(value: object, wanted: Any) -> bool:
    """Whether a value has a simple type; values of other types have been read before."""
    if wanted in (int, str, type(None)):
        return type(value) is wanted
    return isinstance(value, int | float) if wanted is float else True
