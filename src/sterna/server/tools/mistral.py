"""Calls as Mistral's models write them: `[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, and since 2025
`[TOOL_CALLS]name[ARGS]{...}` for each call, some with `[CALL_ID]...` before the arguments."""

from __future__ import annotations

import re

from sterna.server.tools.form import NAME, Form
from sterna.server.tools.parser import ToolParser

MARK, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_NAME = re.compile(r"\s*([A-Za-z0-9_.:/-]+)")
_ID = re.compile(r"\w*")


class MistralParser(ToolParser):
    """Finds the calls of both forms."""

    mark = MARK
    _in_list = False

    def _begun(self) -> bool:
        skipped = self._skip("[")
        self._in_list = skipped == "["
        if skipped is not None:
            self._name = None
            self._state = self._object if self._in_list else self._named
        return skipped is not None

    def _named(self) -> bool:
        """The state before a name."""
        found = _NAME.match(self._held)
        if found is None:
            self._fail()
        elif found.end() == len(self._held):  # the name may go on
            return False
        else:
            self._take(found.end())
            self._name = found[1]
            self._state = self._before_arguments
            if self._name not in self._names:
                self._fail()
        return True

    def _before_arguments(self) -> bool:
        skipped = self._skip(CALL_ID, ARGS, "{")
        if skipped == CALL_ID:
            self._state = self._id
        elif skipped == "{":
            self._state = self._object
        elif skipped == "":
            self._fail()
        return skipped is not None

    def _id(self) -> bool:
        """The state before an id, in place of which a call gets one of ours."""
        found = _ID.match(self._held)
        self._take(found.end() if found else 0)
        if self._held:
            self._state = self._before_arguments
        return True

    def _ended(self) -> bool:
        if not self._in_list:
            return super()._ended()
        skipped = self._skip(",", "]")
        if skipped == ",":
            self._raw, self._state = "", self._object
        elif skipped is not None:
            self._raw, self._state = "", self._after_calls
        return skipped is not None


def _has_list(template: str) -> bool:
    return MARK in template and ARGS not in template


def _has_names(template: str) -> bool:
    return MARK in template and ARGS in template


MISTRAL = Form(
    style="mistral",
    matches=_has_list,
    parser=MistralParser,
    mark=MARK,
    opening="[",
    head=(f'{{"name": "{NAME}", "arguments": ',),
    between=(", ",),
    closing="]",
    special=(MARK,),
)
MISTRAL_NAMES = Form(
    style="mistral-names",
    matches=_has_names,
    parser=MistralParser,
    mark=MARK,
    head=(NAME, ARGS),
    tail="",
    between=(MARK,),
    special=(MARK, ARGS, CALL_ID),
)
