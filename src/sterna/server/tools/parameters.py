"""The parameters of a tool one by one, for forms of calls in which each stands between tags of its own: texts as they
are, all other values as JSON. The schema of a parameter says which it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sterna.engine.grammar.cost import referenced
from sterna.server.tools.spec import Tool

KINDS = frozenset(("string", "number", "boolean", "null", "object", "array"))
"""The types of JSON values; integers are numbers."""
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array"}
_OF_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""As templates write these values in earlier calls, and models therefore too."""
ANY: Mapping[str, Any] = {}
"""The schema of all values."""

MOST_STEPS = 64
"""From a schema to others within it; what lies beyond may be of all types."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a tool."""

    name: str
    schema: Any
    """Its JSON schema."""
    required: bool
    definitions: Mapping[str, Any]
    """The entries `$defs` and `definitions` of the schema that it is a part of."""

    _found: dict[int, frozenset[str]] = field(default_factory=dict)
    """What `kinds_of` found, by the identity of a schema."""

    @property
    def kinds(self) -> frozenset[str]:
        """The types that its values may have."""
        return self.kinds_of(self.schema)

    def kinds_of(self, schema: Any, steps: int = MOST_STEPS) -> frozenset[str]:
        """The types that a schema allows, which is `schema` or a part of it; for what leads back to itself, all."""
        if not isinstance(schema, Mapping) or not steps:
            return KINDS
        if id(schema) not in self._found:
            self._found[id(schema)] = KINDS
            self._found[id(schema)] = frozenset.intersection(KINDS, *self._limits(schema, steps - 1))
        return self._found[id(schema)]

    def _limits(self, schema: Mapping[str, Any], steps: int) -> Iterator[frozenset[str]]:
        for key, value in schema.items():
            values = value if isinstance(value, list) else [value]
            if key == "type":
                yield frozenset("number" if kind == "integer" else kind for kind in values if isinstance(kind, str))
            elif key == "const":
                yield frozenset({kind_of(value)})
            elif key == "enum":
                yield frozenset(map(kind_of, values))
            elif key == "$ref":
                yield self.kinds_of(self.resolved(value), steps)
            elif key == "allOf":
                yield from (self.kinds_of(part, steps) for part in values)
            elif key in ("anyOf", "oneOf"):
                yield frozenset().union(*(self.kinds_of(part, steps) for part in values))

    def resolved(self, reference: Any) -> Any:
        """What a `$ref` stands for; `ANY` where that is no definition of the tool."""
        found = referenced(self.definitions, reference) if isinstance(reference, str) else None
        return ANY if found is None else found

    def read(self, text: str) -> str:
        """The JSON text of the value that a model wrote. What is no value of the parameter's kinds is a text."""
        stripped = text.strip()
        if self.kinds != {"string"}:
            written = _OF_PYTHON.get(stripped, stripped)
            try:
                if kind_of(json.loads(written, parse_constant=_no_json)) in self.kinds - {"string"}:
                    return written
            except (ValueError, RecursionError):
                pass
        return json.dumps(text, ensure_ascii=False)


def parameters(tool: Tool) -> dict[str, Parameter]:
    """The parameters of a tool by their names, in the order of its schema."""
    schema = tool.parameters
    found = schema.get("properties")
    properties: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    listed = schema.get("required")
    required = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    names = dict.fromkeys([*properties, *required])
    return {name: Parameter(name, properties.get(name, {}), name in required, definitions) for name in names}


def kind_of(value: Any) -> str:
    """The type of a value of JSON."""
    return _KINDS.get(type(value), "null")


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is no JSON.")
