"""`format` and `%` of templates: values keep their origin, and no width makes a text of any length."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter, SecurityError

from sterna.model.chat.text import Text, has_typed, typed, typed_mask, with_origin

MAX_DIGITS = 4
"""Digits of a width or precision: a field has at most 9,999 characters of padding."""
_WIDE = re.compile(rf"\d{{{MAX_DIGITS + 1},}}")
_PERCENT = re.compile(
    r"%(?:\((?P<name>[^)]{0,999})\))?(?P<form>[-#0 +]*[\d*]*(?:\.[\d*]*)?)[hlL]?(?P<kind>.)", re.ASCII | re.DOTALL
)
_AS_TEXT: dict[str, Callable[[Any], str]] = {"s": str, "r": repr, "a": ascii}
"""The conversions that `%` and `format` know."""


class Fields(SandboxedFormatter):
    """The values of a call of `str.format`."""

    def __init__(
        self,
        environment: SandboxedEnvironment,
        spend: Callable[[int], None],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """`spend` charges a budget for the characters of each value."""
        super().__init__(environment)
        self._spend = spend
        self._args, self._kwargs, self._automatic = args, kwargs, count()

    def put_into(self, text: Text, nested: bool = False) -> Text:
        """`text` with `{}`, `{name.attribute[0]!r:>8}` replaced. Raises SecurityError for a width beyond 9,999."""
        parts: list[str] = []
        at = 0
        for literal, field, spec, conversion in self.parse(text):
            parts.append(text[at : at + len(literal)])
            at += len(literal)
            if field is None:
                at += literal.endswith(("{", "}"))  # which are doubled in `text`
                continue
            at += len("{") + len(field) + (len("!r") if conversion else 0)
            form = text[at + len(":") : at + len(":") + len(spec or "")]
            at += (len(":") + len(form) if text[at] == ":" else 0) + len("}")
            if field[:1] in ("", ".", "["):
                field = f"{next(self._automatic)}{field}"
            value, _ = self.get_field(field, self._args, self._kwargs)
            if "{" in form and not nested:
                form = self.put_into(form, nested=True)
            parts.append(text.taken(_field(value, conversion, form)))
            self._spend(len(parts[-1]))
        return text.joined(parts)


def _field(value: Any, conversion: str | None, form: Text) -> str:
    _check_width(form)
    if conversion and conversion not in _AS_TEXT:
        raise ValueError(f"Unknown conversion specifier {conversion}")
    converted = with_origin(_AS_TEXT[conversion](value), value) if conversion else value
    if isinstance(converted, str) and not form:
        return converted
    if isinstance(converted, str):
        return _padded(converted, lambda text: format(text, str.__str__(form)), form)
    return str(with_origin(format(converted, str.__str__(form)), value, form))


def format_percent(text: str, values: Any, spend: Callable[[int], None]) -> Text:
    """`text % values`; `spend` charges a budget for the characters of each value. Raises SecurityError for a width
    beyond 9,999."""
    text = text if isinstance(text, Text) else Text(text)
    given = list(values) if isinstance(values, tuple) else [values]
    parts: list[str] = []
    at = 0

    def following() -> Any:
        if not given:
            raise TypeError("not enough arguments for format string")
        return given.pop(0)

    for place in _PERCENT.finditer(text):
        parts.append(text[at : place.start()])
        at = place.end()
        if place["kind"] == "%":
            parts.append(text[at - 1])
            continue
        form = str.__str__(place["form"])
        while "*" in form:
            form = form.replace("*", f"{following():d}", 1)
        if place["name"] is None:
            value = following()
        elif isinstance(values, Mapping):
            value = values[place["name"]]
        else:
            raise TypeError("format requires a mapping")
        parts.append(text.taken(_converted(form, place["kind"], value, text[place.start() : at])))
        spend(len(parts[-1]))
    if given and (isinstance(values, tuple | str) or not hasattr(type(values), "__getitem__")):
        raise TypeError("not all arguments converted during string formatting")
    return text.joined((*parts, text[at:]))


def _converted(form: str, kind: str, value: Any, directive: Text) -> str:
    _check_width(form)
    if kind not in _AS_TEXT:
        return str(with_origin(f"%{form}{kind}" % (value,), value, directive))
    text: str = with_origin(_AS_TEXT[kind](value), value)
    return _padded(text, lambda text: f"%{form}s" % text, directive) if form else text


def _padded(text: str, pad: Callable[[str], str], form: Text) -> str:
    """What `pad`, which puts characters before and behind a text or cuts its end, makes of `text`."""
    padded = pad(str.__str__(text))
    if has_typed(form):
        return typed(padded)
    # Two texts of the same length tell the places that are not padding.
    probes = (pad(character * len(text)) for character in "xy")
    places = [at for at, (one, other) in enumerate(zip(*probes, strict=True)) if one != other]
    before, mask = (places[0] if places else 0), typed_mask(text)[: len(places)]
    return Text(padded, bytes(before) + mask + bytes(len(padded) - before - len(mask)))


def _check_width(form: str) -> None:
    if _WIDE.search(form):
        raise SecurityError("formatting with such a width")
