"""The grammar of a call's arguments where each parameter stands between tags of its own, with a line end before its
value and one after it: `<parameter=NAME>value</parameter>`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from sterna.engine.grammar.grammar import lark_regex
from sterna.engine.grammar.schema import FORMATS, check_depth, schema_text
from sterna.errors import GrammarError, listed
from sterna.server.tools.parameters import ANY, KINDS, Parameter, parameters
from sterna.server.tools.spec import Tool

OPEN, CLOSE = "<parameter=", "</parameter>"
_END = json.dumps(f"\n{CLOSE}\n")
_DEPENDENT = ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "const", "enum", "patternProperties", "propertyNames",
              "minProperties", "maxProperties", "dependentRequired", "dependentSchemas")  # fmt: skip
"""Keywords by which parameters depend on each other, or have no names of their own."""
_NOTES = frozenset(("type", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
                    "$comment", "$defs", "definitions"))  # fmt: skip
"""Keywords that ask nothing of a text."""
_CHECKS = frozenset(("minLength", "maxLength", "pattern", "format"))
"""Keywords that a text can follow."""
_FORMATS = FORMATS | {
    "uuid": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
    "email": r"^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    "uri": "^[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&()*+,;=-]+$",
}
"""Each allows a part of what the format does. llguidance's own are for texts between quotes."""
MOST_SCHEMAS = 100
"""Of which the schema of one parameter may consist."""


def tagged_arguments(tool: Tool) -> str:
    """The arguments in Lark, in the order of the schema. Raises `GrammarError`, naming the tool, for what cannot be
    followed between tags."""
    try:
        check_depth(tool.parameters)
        for key in _DEPENDENT:
            if key in tool.parameters:
                raise GrammarError(f"the model writes parameters one by one, which '{key}' does not allow.")
        rules = [_Rule(n, parameter) for n, parameter in enumerate(parameters(tool).values())]
    except GrammarError as error:
        raise GrammarError(f"The tool '{tool.name}' cannot be called: {error}") from None
    order = " ".join(rule.name if rule.parameter.required else f"{rule.name}?" for rule in rules)
    lines = [line for rule in rules for line in rule.lines]
    return "\n".join(["%lark {", f"start: {order}", *lines, r"CLOSED: /(.|\n)*<\/parameter>(.|\n)*/", "}"])


class _Rule:
    """The rule of one parameter, and the terminals of its texts."""

    def __init__(self, number: int, parameter: Parameter) -> None:
        self.name, self.parameter = f"p{number}", parameter
        if ">" in parameter.name or "\n" in parameter.name:
            raise GrammarError(f"'{parameter.name}' cannot stand in a tag.")
        self.lines: list[str] = []
        self._schemas = 0
        values = " | ".join(self._values(parameter.schema))
        self.lines.append(f"{self.name}: {json.dumps(f'{OPEN}{parameter.name}>' + chr(10))} ({values})")

    def _values(self, schema: Any) -> Iterator[str]:
        """Expressions for what may be behind the first tag."""
        self._schemas += 1
        own = schema if isinstance(schema, Mapping) else ANY
        asked = own.keys() - _NOTES
        one_of = {"enum", "const", "$ref", "anyOf", "oneOf", "allOf"} & asked
        if "string" not in self.parameter.kinds_of(schema):
            yield self._json(schema)
        elif not one_of:
            yield from self._typed(own, asked)
        elif len(asked) > 1 or self._schemas > MOST_SCHEMAS:
            raise self._cannot(*asked)
        elif "$ref" in asked:
            yield from self._values(self.parameter.resolved(own["$ref"]))
        elif asked & {"enum", "const"}:
            values = own["enum"] if "enum" in asked else [own["const"]]
            for value in values if isinstance(values, list) else [values]:
                yield f"{json.dumps(value)} {_END}" if isinstance(value, str) else self._json({"const": value})
        else:
            parts = own[next(iter(asked))]
            if not isinstance(parts, list) or ("allOf" in asked and len(parts) > 1):
                raise self._cannot(*asked)
            for part in parts:
                yield from self._values(part)

    def _typed(self, schema: Mapping[str, Any], asked: AbstractSet[str]) -> Iterator[str]:
        """Texts, and what else the type allows."""
        kinds = self.parameter.kinds_of(schema)
        if kinds != KINDS and kinds > {"string"}:
            yield self._json({**schema, "type": sorted(kinds - {"string"})})
        elif not asked <= _CHECKS:
            raise self._cannot(*(asked - _CHECKS))
        terms = [f"/(.|\\n){{{_length(schema, 'minLength', 0)},{_length(schema, 'maxLength', '')}}}/"]
        if "pattern" in asked:
            terms.append(_regex(schema["pattern"]))
        if "format" in asked:
            if str(schema["format"]) not in _FORMATS:
                raise self._cannot(f"the format {schema['format']}")
            terms.append(_regex(_FORMATS[schema["format"]]))
        name = f"{self.name.upper()}_{len(self.lines)}"
        # Terminals match as much as they can, so the end is a part of them.
        self.lines += [f"{name}: BEFORE_{name} {_END}", f"BEFORE_{name}: {' & '.join(terms)} & ~CLOSED"]
        yield name

    def _json(self, schema: Any) -> str:
        if isinstance(schema, Mapping):
            schema = {**schema, **self.parameter.definitions}
        return f"%json {schema_text(schema, ', ', ': ')} {_END}"

    def _cannot(self, *what: object) -> GrammarError:
        return GrammarError(
            f"the model writes its parameter '{self.parameter.name}' as plain text, which cannot follow "
            f"{listed(sorted(map(str, what)))}."
        )


def _length(schema: Mapping[str, Any], key: str, otherwise: object) -> object:
    value = schema.get(key, otherwise)
    if key in schema and (not isinstance(value, int) or value < 0):
        raise GrammarError(f"'{key}' is a whole number.")
    return value


def _regex(pattern: Any) -> str:
    """A pattern of JSON Schema, which may match a part of the text, as one that matches all of it."""
    if not isinstance(pattern, str):
        raise GrammarError("a pattern is a text.")
    begin = "" if pattern.startswith("^") else r"(.|\n)*"
    end = "" if pattern.endswith("$") and not pattern.endswith(r"\$") else r"(.|\n)*"
    inner = pattern[0 if begin else 1 : None if end else -1]
    return f"/{begin}({lark_regex(inner)}){end}/"
