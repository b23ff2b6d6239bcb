"""`format` and `%` of templates: values keep their origin, and no width makes a text of any length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter, SecurityError

from sterna.model.chat.text import Text, with_origin

MAX_DIGITS = 4
"""Digits of a width or precision: a field has at most 9,999 characters of padding."""
_WIDE = re.compile(rf"\d{{{MAX_DIGITS + 1},}}|\*", re.ASCII)
_PERCENT = re.compile(r"%(?:\((?P<name>[^)]*)\))?[-#0 +]*[\d*]*(?:\.[\d*]*)?[hlL]?(?P<kind>.)", re.ASCII | re.DOTALL)


def format_fields(environment: SandboxedEnvironment, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Text:
    """`str.format` of the sandbox: `{}`, `{name.attribute[0]!r:>8}`. Raises SecurityError for a width beyond 9,999 or
    a format within a format."""
    formatter = SandboxedFormatter(environment)
    parts: list[str] = []
    automatic = 0
    for literal, field, spec, conversion in formatter.parse(text):
        parts.append(with_origin(literal, text))
        if field is None:
            continue
        if "{" in (spec or ""):
            raise SecurityError("a format within a format")
        if field[:1] in ("", ".", "["):
            field, automatic = f"{automatic}{field}", automatic + 1
        value, _ = formatter.get_field(field, args, kwargs)
        converted = formatter.convert_field(value, conversion) if conversion else value
        parts.append(_field(value, converted, spec or ""))
    return Text.joined(parts)


def _field(value: Any, converted: Any, spec: str) -> str:
    _check_width(spec)
    if isinstance(converted, str) and not spec:
        return converted if isinstance(value, str) else str(with_origin(converted, value))
    return str(with_origin(format(converted, str.__str__(spec)), value))


def format_percent(text: str, values: Any) -> Text:
    """`text % values`. Raises SecurityError for a width beyond 9,999."""
    text = Text(text)
    given = list(values) if isinstance(values, tuple) else [values]
    parts: list[str] = []
    at = 0
    for place in _PERCENT.finditer(text):
        parts.append(text[at : place.start()])
        at = place.end()
        directive = str.__str__(place[0])
        _check_width(re.sub(r"\([^)]*\)", "", directive))
        if place["kind"] == "%":
            parts.append("%")
        elif place["name"] is not None:
            if not isinstance(values, Mapping):
                raise TypeError("format requires a mapping")
            parts.append(_converted(directive, values, values[place["name"]]))
        elif given:
            value = given.pop(0)
            parts.append(_converted(directive, (value,), value))
        else:
            raise TypeError("not enough arguments for format string")
    if given and not isinstance(values, Mapping):
        raise TypeError("not all arguments converted during string formatting")
    return Text.joined((*parts, text[at:]))


def _converted(directive: str, values: Any, value: Any) -> str:
    if directive.endswith("s") and isinstance(value, str) and not re.search(r"[-\d.]", directive.split(")")[-1]):
        return value
    return str(with_origin(directive % values, value))


def _check_width(spec: str) -> None:
    if _WIDE.search(spec):
        raise SecurityError("formatting with such a width")
