"""The budget of one rendering, and where it is charged.

Jinja's sandbox does not bound a template's work: nested loops, texts doubled again and again, lists that contain the
same list many times. So every iteration of a loop, every call and every value that an expression makes is charged.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MAX_SIZE = 1 << 22
"""Characters and list entries that one rendering may make, beyond 64 for each character of the messages."""
MAX_STEPS = 200_000
MAX_SECONDS = 1.5
"""Of processor time: on a busy machine a rendering may wait much longer."""
MAX_BITS = 1 << 14
"""Of a number: Python prints none of more than 4,300 digits."""
COMPARING_TESTS = frozenset("in eq == equalto ne != lt < lessthan le <= gt > greaterthan ge >= lower upper".split())
"""Tests that take the longer, the larger what they compare is."""


class LimitError(Exception):
    """The template has used up its budget."""


class Budget:
    """Counts down what a rendering may still use, on the thread that made it."""

    def __init__(self, extra: int) -> None:
        self.size, self.steps = MAX_SIZE + extra, MAX_STEPS
        self._earliest_end = time.monotonic() + MAX_SECONDS
        self._end = time.thread_time() + MAX_SECONDS

    def step(self, size: int = 0) -> None:
        """Charges one iteration of a loop or one call, which writes `size` characters of the template's own text."""
        self.steps -= 1
        if self.steps < 0:
            raise LimitError
        self.spend(size)

    def stepped(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, each of which is a step."""
        for item in items:
            self.step()
            yield item

    def spend(self, size: int) -> None:
        """Charges `size` before a value of that size is made."""
        self.size -= size
        # Asking for processor time is slow, so it is not asked for before it can be over.
        if self.size < 0 or (time.monotonic() > self._earliest_end and time.thread_time() > self._end):
            raise LimitError

    def glue(self, *texts: str) -> None:
        """Charges the text that these make together. Templates write whole prompts by adding to a text again and again,
        so that most of it is soon thrown away."""
        self.spend(sum(map(len, texts)) >> 3)

    def entries(self, value: Any) -> Any:
        """Charges the characters or entries of a part of a value, and returns it. What the entries contain was charged
        when the value was made."""
        self.spend(8 * len(value) if isinstance(value, list | tuple) else len(value) if isinstance(value, str) else 0)
        return value

    def measure(self, value: Any) -> Any:
        """Charges the size of a value after it was made, and returns it; what it contains several times counts each
        time."""
        self.spend(0)
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
            elif isinstance(item, int) and item.bit_length() > MAX_BITS:
                raise LimitError
        return value


class Meter(NodeTransformer):
    """Charges for what the sandbox itself cannot intercept: loops, literals, slices, comparisons, `~`."""

    def _metered_body(self, node: Any) -> Any:
        size = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        step = _filtered(nodes.Const(size, lineno=node.lineno), "_step")
        node = self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        return node

    visit_Macro = visit_CallBlock = visit_Block = _metered_body

    def visit_For(self, node: Any) -> Any:
        node = self._metered_body(node)
        if node.test is not None:
            node.test = _filtered(node.test, "_tested")
        return node

    def _measured(self, node: Any) -> Any:
        node = self.generic_visit(node)
        if getattr(node, "ctx", "load") != "load":
            return node
        return _filtered(node, "_measure")

    visit_List = visit_Dict = visit_Tuple = _measured

    def visit_Getitem(self, node: Any) -> Any:
        node = self.generic_visit(node)
        return _filtered(node, "_entries") if isinstance(node.arg, nodes.Slice) else node

    def visit_Operand(self, node: Any) -> Any:
        node = self.generic_visit(node)
        if not isinstance(node.expr, nodes.Const):
            node.expr = _filtered(node.expr, "_measure")
        return node

    def visit_Test(self, node: Any) -> Any:
        node = self.generic_visit(node)
        if node.name in COMPARING_TESTS:
            node.node = _filtered(node.node, "_measure")
            node.args = [_filtered(argument, "_measure") for argument in node.args]
        return node

    def visit_Concat(self, node: nodes.Concat) -> Any:
        parts = nodes.List([self.visit(part) for part in node.nodes], lineno=node.lineno)
        return _filtered(parts, "_concat")


def _filtered(node: Any, name: str) -> nodes.Filter:
    """What `{{ node | name }}` is in the syntax tree."""
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
