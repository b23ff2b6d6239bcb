"""Calls as Hermes, Qwen and Falcon3 write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import re

from sterna.server.tools.form import NAME, Form
from sterna.server.tools.parser import ToolParser

MARK, END = "<tool_call>", "</tool_call>"
_JSON_AFTER_MARK = re.compile(MARK + r"(?:\\n|[^\w<\[])*name")
"""Only brackets, quotes, white space and line ends, in Jinja's spelling too, are between the two."""
_OTHERS = ("<function=", "<arg_key>", "<invoke", "<parameter")
"""In templates whose calls stand between the same tags, but are not JSON."""


class HermesParser(ToolParser):
    """Finds the calls. The tag at the end may be missing."""

    mark = MARK

    def _ended(self) -> bool:
        if self._skip(END) is None:
            return False
        self._raw = ""
        self._state = self._after_calls
        return True


def _matches(template: str) -> bool:
    return _JSON_AFTER_MARK.search(template) is not None and not any(other in template for other in _OTHERS)


HERMES = Form(
    style="hermes",
    matches=_matches,
    parser=HermesParser,
    mark=MARK,
    head=(f'\n{{"name": "{NAME}", "arguments": ',),
    tail=f"}}\n{END}",
    between=("\n", MARK),
    special=(MARK,),
)
