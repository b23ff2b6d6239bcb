"""Runs a chat template, which anybody may have written, in a sandbox and on a budget.

Jinja's sandbox keeps a template from Python's internals; the budget (`budget.py`) bounds its work, and only filters and
methods are available whose work and result are bounded by their input. Strings keep their origin (`text.py`): wherever
Jinja would make a plain one of a typed one, this environment makes a `Text`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from types import CodeType
from typing import Any

from jinja2 import Template, TemplateError, UndefinedError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError, modifies_known_mutable

from sterna.errors import ArgumentError, FormatError
from sterna.model.chat.budget import MAX_BITS, Budget, LimitError, Meter
from sterna.model.chat.costs import COSTS, PIECE, joined, repeated, replaced, size
from sterna.model.chat.formatting import Fields, format_percent
from sterna.model.chat.text import Markup, Text, escaped, with_origin

MAX_SOURCE = 1 << 16
"""Four times the largest in use."""
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        "strip lstrip rstrip split rsplit splitlines partition rpartition startswith endswith removeprefix "
        "removesuffix replace join upper lower title capitalize swapcase casefold find rfind index rindex count "
        "format format_map center ljust rjust zfill isdigit isalpha isalnum isspace isupper islower istitle isnumeric "
        "isdecimal isascii isidentifier isprintable".split()
    ),
    dict: frozenset("items keys values get copy".split()),
    list: frozenset("index count copy".split()),
    tuple: frozenset("index count grouper list".split()),
    bytes: frozenset(),
    int: frozenset("bit_length real imag numerator denominator".split()),
    float: frozenset("is_integer real imag".split()),
}
FILTERS = frozenset(
    "trim length count upper lower capitalize title default d first last list map select selectattr "
    "reject rejectattr items dictsort string int float unique reverse sort min max sum abs round wordcount groupby "
    "truncate batch slice center attr".split()
)
ELEMENTS = frozenset("default d first last min max attr".split())
"""Filters that give one of the values they are given: a plain string among these is the template's own."""
ITERATING = frozenset(
    "list map select selectattr reject rejectattr unique sort min max sum groupby batch slice".split()
)
SIZING = frozenset("batch slice round center".split())
"""Filters that make a text, list or number of a size that one may ask for."""
MAX_NUMBER = 9_999
"""Of what is asked for there and of `indent`."""


ANSWER_BEGINS, ANSWER_ENDS = "\ue000", "\ue001"
"""What `run` writes around the content of `{% generation %}` blocks if it is asked to."""


def run(source: str, variables: Mapping[str, Any], mark_answers: bool = False) -> Text:
    """Renders `source`, and marks the content of `{% generation %}` blocks if `mark_answers`. Raises ArgumentError
    where the template refuses the messages, FormatError where it does not work."""
    try:
        environment = _Sandbox(64 * len(repr(variables)), mark_answers)
        code = _compile(source)
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
    """`{% generation %}` of transformers marks what the assistant says, for training."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        begins, ends = (self._mark(mark, lineno) for mark in (ANSWER_BEGINS, ANSWER_ENDS))
        return nodes.Scope([begins, *body, ends], lineno=lineno)

    @staticmethod
    def _mark(mark: str, lineno: int) -> nodes.Node:
        marked = nodes.Filter(nodes.Const(mark), "_mark", [], [], None, None, lineno=lineno)
        return nodes.Output([marked], lineno=lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset("+ * % / // ** -".split())

    def __init__(self, extra: int, mark_answers: bool = False) -> None:
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
            "_tested": self._tested,
            "_mark": lambda mark: mark if mark_answers else "",
            "_measure": self.budget.measure,
            "_entries": self.budget.entries,
            "_concat": self._concat,
            "tojson": self._tojson,
            "format": self._format,
            "replace": self._replace,
            "join": self._join,
            "indent": self._indent,
            "safe": self._safe,
            "forceescape": self._forceescape,
            **dict.fromkeys(("escape", "e"), self._escape),
        }
        self.filters = charged | own
        self.globals = {name: self.globals[name] for name in ("range", "namespace", "joiner", "cycler")}
        self.globals |= {"dict": _Dict(), "raise_exception": _refuse, "strftime_now": self._strftime_now}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        if tree.find(nodes.EvalContextModifier):
            raise SecurityError("switching autoescape, of which only web pages know")
        tree = Meter().visit(tree)
        tree.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The safe form of a string's `format` and `format_map`."""
        text, name = getattr(value, "__self__", None), getattr(value, "__name__", "")
        if not isinstance(text, str) or name not in ("format", "format_map"):
            return None
        origin = text if isinstance(text, Text) else Text(text)

        def filled(args: tuple[Any, ...], values: Mapping[str, Any]) -> Text:
            self.budget.spend(PIECE * (text.count("{") + text.count("}")))
            return Fields(self, self.budget.spend, args, values).put_into(origin)

        if name == "format_map":
            return lambda values: filled((), values)
        return lambda *args, **kwargs: filled(args, kwargs)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        if modifies_known_mutable(obj, attribute):
            return super().unsafe_undefined(obj, attribute)
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
        # Jinja passes the variables of loops and blocks beside the arguments that the template wrote.
        named = {key: value for key, value in kwargs.items() if key not in ("_loop_vars", "_block_vars")}
        if name == "join":
            args = tuple(map(list, args))
        if name in COSTS:
            self.budget.spend(COSTS[name](owner, *args, **named))
        owner = owner if isinstance(owner, Text) else Text(owner)
        result = super().call(context, getattr(owner, name), *args, **named)
        return self.budget.measure(with_origin(result, owner, args, named))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str) and operator == "%":
            self.budget.spend(PIECE * left.count("%"))
            return self.budget.measure(format_percent(left, right, self.budget.spend))
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * right > MAX_BITS:
                raise LimitError
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            self.budget.glue(left, right)
            return super().call_binop(context, operator, left, right)
        if operator == "+" and isinstance(left, list | tuple):
            self.budget.entries(left)
            self.budget.measure(right)
            return super().call_binop(context, operator, left, right)
        if operator == "*" and not all(isinstance(side, int | float) for side in (left, right)):
            self.budget.spend(repeated(left, right))
        else:
            self.budget.spend(size(left) + size(right))
        return self.budget.measure(super().call_binop(context, operator, left, right))

    def _charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        passed = 1 if hasattr(function, "jinja_pass_arg") else 0

        @wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            # Methods of a plain string would forget where their arguments come from.
            values = [Text(arg) if type(arg) is str and name not in ELEMENTS else arg for arg in args[passed:]]
            if name in SIZING:
                _check_sizes(name, *values[1:], *kwargs.values())
            if name in COSTS:
                self.budget.spend(COSTS[name](*values, *kwargs.values()))
            if name in ITERATING and values and values[0]:
                values[0] = self.budget.stepped(values[0])
            result = function(*args[:passed], *values, **kwargs)
            return result if name in ELEMENTS else self.budget.measure(with_origin(result, values, kwargs))

        return filtered

    def _tested(self, value: Any) -> Any:
        self.budget.step()
        return value

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
        texts = [part if isinstance(part, str) else self._text(part) for part in parts]
        self.budget.glue(*texts)
        return Text.joined(texts)

    def _format(self, text: Any, *args: Any, **kwargs: Any) -> Text:
        self.budget.step()
        text = self._text(text)
        self.budget.spend(PIECE * text.count("%"))
        return self.budget.measure(format_percent(text, kwargs or args, self.budget.spend))

    def _replace(self, text: Any, old: Any, new: Any, count: int | None = None) -> str:
        text, old, new = map(self._text, (text, old, new))
        self.budget.spend(replaced(text, old, new))
        return Text(text).replace(old, new, -1 if count is None else count)

    def _join(self, items: Any, d: Any = "", attribute: str | int | None = None) -> Text:
        if attribute is not None:
            items = map(make_attrgetter(self, attribute), items)
        parts = [self._text(item) for item in items]
        gap = self._text(d)
        self.budget.spend(joined(gap, parts))
        return Text(gap).join(parts)

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> Text:
        _check_sizes("indent", width)
        text = self._text(text)
        text = text if isinstance(text, Text) else Text(text)
        by = width if isinstance(width, str) else " " * width
        self.budget.spend((len(str.splitlines(text)) + 1) * (len(by) + PIECE))
        parts: list[str] = []
        for number, line in enumerate((text + "\n").splitlines()):
            parts += ("\n" if number else "", by if (blank or line if number else first) else "", line)
        return self.budget.measure(text.joined(parts))

    def _safe(self, value: Any) -> Markup:
        return Markup(self._text(value))

    def _escape(self, value: Any) -> Markup:
        text = self._text(value)
        self.budget.spend(PIECE * sum(map(text.count, "&<>'\"")))
        return self.budget.measure(escaped(text))

    def _forceescape(self, value: Any) -> Markup:
        return self._escape(Text(self._text(value)))

    def _tojson(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON as transformers writes it: no HTML escapes, letters of all scripts as they are."""
        self.budget.step()
        self.budget.measure(value)
        _check_sizes("tojson", indent)
        form = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        parts: list[str] = []
        for part in [form.encode(value)] if indent is None else form.iterencode(value):
            self.budget.spend(len(part))
            parts.append(part)
        result: str = with_origin("".join(parts), value, indent, separators)
        return result

    def _strftime_now(self, form: str) -> str:
        self.budget.spend(256 * len(form))  # the C library makes at most that of a form
        result: str = with_origin(datetime.now().strftime(form), form)
        return result


class _Dict:
    """The `dict` of templates, as in transformers: the type itself has methods that change its instances."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """As `dict.fromkeys`."""
        return dict.fromkeys(*args)


def _refuse(message: object) -> None:
    raise _Refusal(str(message))


def _check_sizes(name: str, *sizes: Any) -> None:
    if any(isinstance(size, int) and abs(size) > MAX_NUMBER for size in sizes):
        raise SecurityError(f"such a number for the filter {name}")
