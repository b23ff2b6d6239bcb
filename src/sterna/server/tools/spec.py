"""The tools of a request, checked: functions in the form of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sterna.engine.grammar.schema import schema_text
from sterna.errors import ArgumentError, GrammarError, shown

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,128}")
_COMBINING = frozenset(("$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"))


@dataclass(frozen=True)
class Tool:
    """A function that a model may call."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """The JSON schema of its arguments, an object."""

    @property
    def as_given(self) -> dict[str, Any]:
        """As templates read it."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}

    def arguments(self) -> str:
        """The arguments in Lark: JSON that follows `parameters`, spaced as Python and chat templates write it.

        Properties that `parameters` does not name are not allowed, unless it says otherwise. Raises `GrammarError`,
        naming the tool, for parameters that are too large.
        """
        schema = dict(self.parameters)
        if not _COMBINING & schema.keys():
            schema["additionalProperties"] = False
        try:
            return f"%json {schema_text(schema, ', ', ': ')}"
        except GrammarError as error:
            raise GrammarError(f"The tool '{self.name}' cannot be called: {error}") from None


def read_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Checked tools. Raises `ArgumentError` for what is no list of functions with different names."""
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence) or len(tools) > MAX_TOOLS:
        raise ArgumentError(f"Tools are a list of at most {MAX_TOOLS} functions.")
    read = tuple(map(_read, tools))
    names = [tool.name for tool in read]
    for name in names:
        if names.count(name) > 1:
            raise ArgumentError(f"Two tools have the name '{name}'.")
    return read


def _read(tool: Mapping[str, Any]) -> Tool:
    function = (
        tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
    )
    if not isinstance(function, Mapping):
        raise ArgumentError(f'A tool is {{"type": "function", "function": {{"name": ...}}}}, not {shown(tool)}.')
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ArgumentError(f"The name of a tool has letters, digits, and any of _.:/-; {shown(name)} is none.")
    description = function.get("description")
    parameters = function.get("parameters")
    if not parameters:
        parameters = {"type": "object", "properties": {}}
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise ArgumentError(f"The parameters of the tool '{name}' are no JSON schema of an object.")
    return Tool(name, description if isinstance(description, str) else "", {"type": "object", **parameters})
