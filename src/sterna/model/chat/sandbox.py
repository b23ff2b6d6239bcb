"""Runs a chat template, which anybody may have written, in a sandbox and on a budget.

Jinja's sandbox keeps a template from Python's internals, but does not bound its work: nested loops, texts doubled again
and again, lists that contain the same list many times. So every iteration of a loop, every call and every value that an
expression makes is charged to one budget, and only filters and methods whose result is bounded by their input are
available.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from types import CodeType
from typing import Any

from jinja2 import Template, TemplateError, UndefinedError, nodes, pass_context
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.visitor import NodeTransformer

from sterna.errors import ArgumentError, FormatError

MAX_SOURCE = 1 << 17
MAX_SIZE = 1 << 23
"""Characters and list entries that one rendering may make, beyond 64 for each character of the messages."""
MAX_STEPS = 200_000
MAX_SECONDS = 1.5

METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        "strip lstrip rstrip split rsplit splitlines partition rpartition startswith endswith removeprefix "
        "removesuffix replace join upper lower title capitalize find rfind index count isdigit isalpha isalnum "
        "isspace isupper islower".split()
    ),
    dict: frozenset("items keys values get".split()),
    list: frozenset("index count".split()),
    tuple: frozenset("index count".split()),
}
FILTERS = frozenset(
    "trim length count upper lower capitalize title replace join default d first last list map select selectattr "
    "reject rejectattr items dictsort string int float safe escape e unique reverse sort min max sum abs".split()
)


class LimitError(Exception):
    """The template has used up its budget."""


def run(source: str, variables: Mapping[str, Any]) -> str:
    """Renders `source`. Raises ArgumentError where the template refuses the messages, FormatError where it does not
    work."""
    try:
        code = _compile(source)
        environment = _Sandbox(64 * len(repr(variables)))
        template = Template.from_code(environment, code, environment.globals)
        return template.render(variables)
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


class _Budget:
    """Counts down what a rendering may still use."""

    def __init__(self, extra: int) -> None:
        self.size, self.steps, self.deadline = MAX_SIZE + extra, MAX_STEPS, time.monotonic() + MAX_SECONDS

    def step(self, size: int = 0) -> None:
        """Charges one iteration of a loop or one call, which writes `size` characters of the template's own text."""
        self.steps -= 1
        if self.steps < 0 or time.monotonic() > self.deadline:
            raise LimitError
        self.spend(size)

    def spend(self, size: int) -> None:
        """Charges `size` before a value of that size is made."""
        self.size -= size
        if self.size < 0:
            raise LimitError

    def measure(self, value: Any) -> Any:
        """Charges the size of a value after it was made, and returns it; what it contains several times counts each
        time."""
        rest = [value]
        while rest:
            item = rest.pop()
            if isinstance(item, str):
                self.spend(len(item))
            elif isinstance(item, dict):
                self.spend(16 * len(item))
                rest += [*item.keys(), *item.values()]
            elif isinstance(item, list | tuple):
                self.spend(8 * len(item))
                rest += item
        return value


class _Meter(NodeTransformer):
    """Charges for what the sandbox itself cannot intercept: loops, literals, slices, `~`."""

    def _metered_body(self, node: Any) -> Any:
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        step = nodes.Filter(nodes.Const(size), "_step", [], [], None, None, lineno=node.lineno)
        node = self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _metered_body

    def _measured(self, node: Any) -> Any:
        node = self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        return nodes.Filter(node, "_measure", [], [], None, None, lineno=node.lineno)

    visit_List = visit_Dict = visit_Tuple = _measured

    def visit_Getitem(self, node: nodes.Getitem) -> Any:
        return self._measured(node) if isinstance(node.arg, nodes.Slice) else self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> Any:
        parts = nodes.List([self.visit(part) for part in node.nodes], lineno=node.lineno)
        return nodes.Filter(parts, "_concat", [], [], None, None, lineno=node.lineno)


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
        self.budget = _Budget(extra)
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
        }
        self.filters = charged | own
        self.globals = {name: self.globals[name] for name in ("namespace", "dict")}
        self.globals |= {"range": self._range, "raise_exception": _refuse}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                raise SecurityError("recursive loops")
        tree = _Meter().visit(tree)
        tree.set_environment(self)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """`format` can make a text of any width, so it is no safe method here and needs no wrapping."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"reading {attribute!r} of a {type(obj).__name__}")

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        name, text = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        if isinstance(text, str) and name in _GROWTH:
            self.budget.spend(_GROWTH[name](text, *args))
        return self.budget.measure(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if isinstance(left, str) and operator == "%":
            raise SecurityError("formatting with %")
        if operator == "**" or (operator == "*" and not all(isinstance(x, int | float) for x in (left, right))):
            raise SecurityError(f"the operator {operator}")
        self.budget.spend(_size(left) + _size(right))
        return self.budget.measure(super().call_binop(context, operator, left, right))

    def _charged(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            if name in _FILTER_GROWTH:
                if not kwargs.keys() <= {"attribute"}:
                    raise SecurityError(f"naming the arguments of the filter {name}")
                args = _FILTER_GROWTH[name](self.budget, *args)
            return self.budget.measure(function(*args, **kwargs))

        return filtered

    @pass_context  # also keeps constant output from being folded into the code, where nothing is charged
    def _written(self, context: Any, value: Any) -> Any:
        self.budget.spend(len(value) if isinstance(value, str) else 20)
        return value

    def _concat(self, parts: list[Any]) -> str:
        texts = [str(part) for part in parts]
        self.budget.spend(sum(map(len, texts)))
        return "".join(texts)

    def _tojson(self, value: Any, indent: int | None = None, **options: Any) -> str:
        """JSON as transformers writes it: no HTML escapes, letters of all scripts as they are."""
        self.budget.step()
        self.budget.measure(value)
        known = {name: options[name] for name in ("separators", "sort_keys") if name in options}
        return self.budget.measure(json.dumps(value, ensure_ascii=False, indent=indent and min(indent, 8), **known))

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


def _replaced(text: str, old: str, new: str, *count: int) -> int:
    return len(text) + text.count(str(old)) * len(str(new))


def _joined(separator: str, items: Any) -> int:
    if not isinstance(items, list | tuple | dict | str):
        raise SecurityError("joining what is no list")
    return sum(len(str(item)) for item in items) + len(separator) * len(items)


_GROWTH: dict[str, Callable[..., int]] = {"replace": _replaced, "join": _joined}


def _spend_replace(budget: _Budget, context: Any, text: Any, old: Any, new: Any, *rest: Any) -> tuple[Any, ...]:
    budget.spend(_replaced(str(text), old, new))
    return context, text, old, new, *rest


def _spend_join(budget: _Budget, context: Any, items: Any, separator: Any = "", *rest: Any) -> tuple[Any, ...]:
    items = list(items)
    budget.spend(_joined(str(separator), items))
    return context, items, separator, *rest


_FILTER_GROWTH: dict[str, Callable[..., tuple[Any, ...]]] = {"replace": _spend_replace, "join": _spend_join}
