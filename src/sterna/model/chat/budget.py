"""The budget of one rendering, and where it is charged.

Jinja's sandbox does not bound a template's work: nested loops, texts doubled again and again, lists that contain the
same list many times. So every iteration of a loop, every call and every value that an expression makes is charged.
"""

from __future__ import annotations

import time
from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

MAX_SIZE = 1 << 23
"""Characters and list entries that one rendering may make, beyond 64 for each character of the messages."""
MAX_STEPS = 200_000
MAX_SECONDS = 1.5


class LimitError(Exception):
    """The template has used up its budget."""


class Budget:
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


class Meter(NodeTransformer):
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
