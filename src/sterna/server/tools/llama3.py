"""Calls as Llama 3.1 to 3.3 write them: an answer that is `{"name": ..., "parameters": {...}}`, one call at a time."""

from __future__ import annotations

from sterna.server.tools.form import NAME, Form
from sterna.server.tools.parser import ToolParser

TAG = "<|python_tag|>"
"""May stand before a call."""


class Llama3Parser(ToolParser):
    """Finds calls with which an answer begins; several may be separated by semicolons."""

    mark = TAG
    _may_begin = True

    def _outside(self) -> bool:
        if not self._may_begin:
            self._give(self._held)
            self._held = ""
            return False
        skipped = self._skip(TAG, "{")
        if skipped == "{":
            self._state = self._object
        elif skipped == "":
            self._fail()
        return skipped is not None

    def _ended(self) -> bool:
        skipped = self._skip(";", "{")
        if skipped == "{":
            self._state = self._object
        elif skipped == "":
            self._fail()
        return skipped is not None

    def _fail(self) -> None:
        super()._fail()
        self._may_begin = False


def _matches(template: str) -> bool:
    return 'Respond in the format {"name": function name, "parameters": ' in template


LLAMA3 = Form(
    style="llama3",
    matches=_matches,
    parser=Llama3Parser,
    mark='{"name": "',
    head=(f'{NAME}", "parameters": ',),
    before=r"[ \n]*",
    special=(TAG,),
)
