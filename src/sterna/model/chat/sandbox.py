"""Runs a chat template, which anybody may have written, in a sandbox and on a budget.

Jinja's sandbox keeps a template from Python's internals; the budget (`budget.py`) bounds its work, and only filters and
methods whose result is bounded by their input are available. Strings
keep their origin (`text.py`): wherever Jinja would make a plain one of a typed one, this environment makes a `Text`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, wraps
from types import CodeType
from typing import Any

from jinja2 import Template, TemplateError, UndefinedError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import do_indent, make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat.budget import Budget, LimitError, Meter
from sterna.model.chat.formatting import format_fields, format_percent
from sterna.model.chat.text import Markup, Text, escaped, with_origin

MAX_SOURCE = 1 << 17
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        "strip lstrip rstrip split rsplit splitlines partition rpartition startswith endswith removeprefix "
        "removesuffix replace join upper lower title capitalize swapcase casefold find rfind index rindex count format "
        "isdigit isalpha isalnum isspace isupper islower istitle isnumeric isdecimal isascii isidentifier "
        "isprintable".split()
    ),
    dict: frozenset("items keys values get copy".split()),
    list: frozenset("index count copy".split()),
    tuple: frozenset("index count".split()),
}
FILTERS = frozenset(
    "trim length count upper lower capitalize title default d first last list map select selectattr "
    "reject rejectattr items dictsort string int float unique reverse sort min max sum abs round wordcount groupby "
    "indent truncate batch slice".split()
)
ELEMENTS = frozenset("default d first last min max sum".split())
"""Filters that give one of the values they are given: a plain string among these is the template's own."""
MAX_NUMBER = 9_999
"""Of what makes texts or lists of a length that one may ask for: `batch`, `slice`, `indent`."""


def run(source: str, variables: Mapping[str, Any]) -> Text:
    """Renders `source`. Raises ArgumentError where the template refuses the messages, FormatError where it does not
    work."""
    try:
        code = _compile(source)
        environment = _Sandbox(64 * len(repr(variables)))
        template = Template.from_code(environment, code, environment.globals)
        return Text(template.render(variables))
    except _Refusal as error:
        raise ArgumentError(f"The chat template refuses these messages: {_one_line(error)}.") from error
    except (LimitError, MemoryError, RecursionError, OverflowError) as error:
        raise FormatError("The chat template wants too much time or memory, as a loop without end does.") from error
    except SecurityError as error:
        raise FormatError(f"The chat template tries what templates may not do: {_one_line(error)}.") from error
    except UndefinedError as error:
        raise FormatError(f"The chat template uses something that is not there: {_one_line(error)}.") from error
    except TemplateError as error:
        raise FormatError(f"The chat template is not valid Jinja: {_one_line(error)}.") from error
    except Exception as error:  # any error that Python raises within the template
        raise FormatError(f"The chat template does not work: {type(error).__name__}: {_one_line(error)}.") from error


@lru_cache(maxsize=16)
def _compile(source: str) -> CodeType:
    if len(source) > MAX_SOURCE:
        raise LimitError
    return _Sandbox(0).compile(source)


class _Refusal(Exception):
    """The template called `raise_exception`."""


def _one_line(error: BaseException) -> str:
    printable = "".join(character if character.isprintable() else " " for character in str(error)[:300])
    return " ".join(printable.split()).rstrip(".")


class _Generation(Extension):
    """`{% generation %}` of transformers marks what the assistant says, for training; here its content is just
    rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset("+ * % / // ** -".split())

    def __init__(self, extra: int) -> None:
        self.budget = Budget(extra)
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # else constants would be folded, and charged, while compiling
            finalize=self._written,
            extensions=[loopcontrols, _Generation],
        )
        charged = {name: self._charged(name, self.filters[name]) for name in FILTERS}
        own = {
            "_step": self.budget.step,
            "_measure": self.budget.measure,
            "_concat": self._concat,
            "tojson": self._tojson,
            "format": self._format,
            "replace": self._replace,
            "join": self._join,
            "indent": self._indent,
            "safe": self._safe,
            **dict.fromkeys(("escape", "e", "forceescape"), self._escape),
        }
        self.filters = charged | own
        self.globals = {name: self.globals[name] for name in ("namespace", "dict", "joiner", "cycler")}
        self.globals |= {"range": self._range, "raise_exception": _refuse}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise SecurityError("recursive loops")
        tree = Meter().visit(tree)
        tree.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The safe form of a string's `format`."""
        text = getattr(value, "__self__", None)
        if not isinstance(text, str) or value.__name__ != "format":
            return None
        return lambda *args, **kwargs: format_fields(self, text, args, kwargs)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"reading {attribute!r} of a {type(obj).__name__}")

    @staticmethod
    def concat(parts: Iterable[str]) -> Text:
        """What a block, a macro or the whole template has written."""
        return Text.joined(parts)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        name, owner = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        if not isinstance(owner, str):
            return self.budget.measure(super().call(context, obj, *args, **kwargs))
        if name in _GROWTH:
            self.budget.spend(_GROWTH[name](owner, *args))
        result = super().call(context, getattr(Text(owner), name), *args, **kwargs)
        return self.budget.measure(with_origin(result, owner, args, kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str) and operator == "%":
            return self.budget.measure(format_percent(left, right))
        if operator == "**":
            raise SecurityError(f"the operator {operator}")
        if operator == "*" and not all(isinstance(side, int | float) for side in (left, right)):
            self.budget.spend(_repeated(left, right))
        else:
            self.budget.spend(_size(left) + _size(right))
        return self.budget.measure(super().call_binop(context, operator, left, right))

    def _charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            sizes = (*args, *kwargs.values()) if name in ("batch", "slice") else ()
            if any(isinstance(value, int) and value > MAX_NUMBER for value in sizes):
                raise SecurityError(f"such a number for the filter {name}")
            # Methods of a plain string would forget where their arguments come from.
            args = tuple(Text(value) if type(value) is str and name not in ELEMENTS else value for value in args)
            result = function(*args, **kwargs)
            return self.budget.measure(result if name in ELEMENTS else with_origin(result, args, kwargs))

        return filtered

    @pass_context  # also keeps constant output from being folded into the code, where nothing is charged
    def _written(self, context: Any, value: Any) -> str:
        if isinstance(value, str):
            self.budget.spend(len(value))
            return value
        return self._text(value)

    def _text(self, value: Any) -> str:
        """`str(value)` with its origin."""
        self.budget.measure(value)
        text: str = with_origin(str(value), value)
        self.budget.spend(len(text))
        return text

    def _concat(self, parts: list[Any]) -> Text:
        return Text.joined(map(self._text, parts))

    def _format(self, text: Any, *args: Any, **kwargs: Any) -> Text:
        self.budget.step()
        return self.budget.measure(format_percent(self._text(text), kwargs or args))

    def _replace(self, text: Any, old: Any, new: Any, count: int = -1) -> str:
        text, old, new = map(self._text, (text, old, new))
        self.budget.spend(_replaced(text, old, new))
        return Text(text).replace(old, new, count)

    def _join(self, items: Any, d: str = "", attribute: str | int | None = None) -> Text:
        parts = [
            self._text(item) for item in (items if attribute is None else map(make_attrgetter(self, attribute), items))
        ]
        self.budget.spend(_joined(d, parts))
        return Text(d).join(parts)

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = self._text(text)
        by = width if isinstance(width, str) else " " * min(width, MAX_NUMBER)
        self.budget.spend((len(text.splitlines()) + 1) * (len(by) + 1))
        return self.budget.measure(with_origin(do_indent(str.__str__(text), by, first, blank), text, by))

    def _safe(self, value: Any) -> Markup:
        return Markup(self._text(value))

    def _escape(self, value: Any) -> Markup:
        return self.budget.measure(escaped(value))

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as transformers writes it: no HTML escapes, letters of all scripts as they are."""
        self.budget.step()
        self.budget.measure(value)
        indent = indent if indent is None else min(indent, 8)
        text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        self.budget.spend(len(text))
        result: str = with_origin(text, value)
        return result

    def _range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self.budget.spend(8 * len(numbers))
        return numbers


def _refuse(message: object) -> None:
    raise _Refusal(str(message))


def _size(value: object) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return len(value) if isinstance(value, str | list | tuple) else 1


def _repeated(left: Any, right: Any) -> int:
    """The size of a string or list times a number."""
    count, sequence = (left, right) if isinstance(left, int) else (right, left)
    if not isinstance(count, int) or not isinstance(sequence, str | list | tuple):
        raise SecurityError("multiplying what is no number")
    return len(sequence) * max(count, 0)


def _replaced(text: str, old: str, new: str, *count: int) -> int:
    return len(text) + text.count(str(old)) * len(str(new))


def _joined(separator: str, items: Any) -> int:
    if not isinstance(items, list | tuple | dict | str):
        raise SecurityError("joining what is no list")
    return sum(len(str(item)) for item in items) + len(separator) * len(items)


_GROWTH: dict[str, Callable[..., int]] = {"replace": _replaced, "join": _joined}
