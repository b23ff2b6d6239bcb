"""Rules for the values of options. A rule checks a value, says in an error which values are valid, and returns the
value in a type of Python (an int for a numpy integer)."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, TypeVar

from sterna.errors import ArgumentError, OptionError, shown, suggestion


class Rule(ABC):
    """The values that one option may have."""

    words: str
    """The valid values, as the end of the sentence "The option is {words}."."""
    metavar: str = "TEXT"
    """The placeholder for a value in the help of a flag."""

    def take(self, name: str, value: object) -> Any:
        """The value in a type of Python. Raises `OptionError`, naming the option `name`, for an invalid one."""
        return self._checked(name, value, self.words)

    def read(self, name: str, text: str) -> Any:
        """The value in the text of a flag. Raises `OptionError`, naming the flag `name`, for an invalid text."""
        return self._checked(name, self._parsed(text), self.words)

    def _checked(self, name: str, value: object, words: str) -> Any:
        try:
            return self._taken(value)
        except (TypeError, ValueError, OverflowError):
            raise OptionError(name, f"is {words}, not {shown(value)}.") from None

    def _parsed(self, text: str) -> object:
        """The value in a text, before it is checked; the text itself where it cannot be parsed."""
        return text

    @abstractmethod
    def _taken(self, value: object) -> Any:
        """The value in a type of Python. Raises TypeError, ValueError or OverflowError for an invalid one."""


class Whole(Rule):
    """A whole number from `least`, up to `most` if that is given. None is valid if `optional`, or if `none` says what
    None is for; a flag then takes -1 for it, as flags of llama.cpp do."""

    metavar = "N"

    def __init__(self, least: int, most: int | None = None, *, optional: bool = False, none: str | None = None) -> None:
        self.least, self.most, self.none = least, most, none
        self.optional = optional or none is not None
        self.words = f"a whole number from {least}" + ("" if most is None else f" to {most}")
        self.words += "" if none is None else f", or None {none}"

    def read(self, name: str, text: str) -> Any:
        number = self._parsed(text)
        if number == -1 and self.none is not None:
            return None
        return self._checked(name, number, self.words.replace("None", "-1"))

    def _parsed(self, text: str) -> object:
        try:
            return int(text)
        except ValueError:
            return text

    def _taken(self, value: object) -> int | None:
        if value is None and self.optional:
            return None
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError
        number = int(value)
        if number < self.least or (self.most is not None and number > self.most):
            raise ValueError
        return number


class Number(Rule):
    """A finite number from `least` (or above `above`) to `most`, where these are given."""

    metavar = "X"

    def __init__(self, *, least: float | None = None, above: float | None = None, most: float | None = None) -> None:
        self.least, self.above, self.most = least, above, most
        self.words = "a number"
        if least is not None:
            self.words += f" from {least:g}" + ("" if most is None else f" to {most:g}")
        elif above is not None:
            self.words += f" above {above:g}" + ("" if most is None else f", at most {most:g}")

    def _parsed(self, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            return text

    def _taken(self, value: object) -> float:
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        if self.least is not None and number < self.least or self.above is not None and number <= self.above:
            raise ValueError
        if self.most is not None and number > self.most:
            raise ValueError
        return number


class OneOf(Rule):
    """One of some words, at least two."""

    def __init__(self, *known: str) -> None:
        few = f"{', '.join(known[:-1])} or {known[-1]}"
        self.words = few if len(known) <= 3 else f"one of {', '.join(known)}"
        self.metavar, self._known = "|".join(known), known

    def _taken(self, value: object) -> str:
        if not isinstance(value, str) or value not in self._known:
            raise ValueError
        return value


class Device(Rule):
    """A place where a model runs: `cpu`, `cuda`, `cuda:N` for the GPU of this number, or `auto`."""

    words = "auto, cpu, cuda or cuda:N, N the number of a GPU"
    metavar = "DEVICE"

    def _taken(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
            raise ValueError
        return value


class Switch(Rule):
    """True or False. None is valid if `optional`."""

    words = "True or False"

    def __init__(self, *, optional: bool = False) -> None:
        self.optional = optional

    def _taken(self, value: object) -> bool | None:
        if value is None and self.optional:
            return None
        is_numpys = getattr(getattr(value, "dtype", None), "kind", None) == "b"
        if not isinstance(value, bool) and not is_numpys:
            raise TypeError
        return bool(value)


class Strings(Rule):
    """Strings that are not empty, as a tuple. None gives an empty tuple, and a single string a tuple of one."""

    words = "a string or a list of strings, none of them empty"

    def read(self, name: str, text: str) -> str:
        """One string: its flag may be repeated. Raises `OptionError` for an empty one."""
        if not text:
            raise OptionError(name, "is a string that is not empty.")
        return text

    def _taken(self, value: object) -> tuple[str, ...]:
        strings = () if value is None else (value,) if isinstance(value, str) else value
        if not isinstance(strings, (list, tuple)) or not all(isinstance(text, str) and text for text in strings):
            raise ValueError
        return tuple(str(text) for text in strings)


class Biases(Rule):
    """A mapping of token ids to numbers, copied into a dict."""

    words = "a mapping of token ids to numbers"

    def _taken(self, value: object) -> dict[int, float]:
        if not isinstance(value, Mapping):
            raise TypeError
        ids, biases = Whole(0), Number()
        return {ids._taken(token): biases._taken(bias) for token, bias in value.items()}  # type: ignore[misc]


def option(default: Any, rule: Rule, *flags: str, help: str = "") -> Any:
    """A field of `Options`: its default, its rule, and the names and the help of its flag, if it has one."""
    metadata = {"rule": rule, "flags": flags, "help": help}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base of dataclasses whose fields are all made by `option`. Raises `OptionError` for an invalid value."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if type(value) is type(entry.default) and value == entry.default:
                continue  # A default is valid. This is quicker, and most values of a request are defaults.
            value = entry.metadata["rule"].take(entry.name, value)
            object.__setattr__(self, entry.name, value)


Kind = TypeVar("Kind", bound=Options)


def with_names(options: Kind | None, kind: type[Kind], named: Mapping[str, Any]) -> Kind:
    """`options`, or the defaults of `kind` if that is None, with the `named` options replaced.

    Raises `ArgumentError` for an unknown name and for an object of another kind, `OptionError` for a wrong value.
    """
    if options is not None and not isinstance(options, kind):
        raise ArgumentError(
            f"Options are given by name, as in name=value, or as one object of {kind.__name__}, not {shown(options)}."
        )
    known = [entry.name for entry in fields(kind)]
    for name in named:
        if name not in known:
            raise ArgumentError(f"There is no option '{name}'{suggestion(name, known)}")
    if options is None:
        return kind(**named)
    return replace(options, **named) if named else options
