"""Calls as Qwen3-Coder, Qwen3.5 and Nemotron 3 write them, with a line end after each tag:
`<tool_call><function=NAME><parameter=KEY>value</parameter></function></tool_call>`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from sterna.server.events import CallArguments, CallStart, Event
from sterna.server.tools.call import new_id
from sterna.server.tools.form import NAME, Form
from sterna.server.tools.hermes import END, MARK, HermesParser
from sterna.server.tools.parameters import ANY, Parameter, parameters
from sterna.server.tools.parser import overlap
from sterna.server.tools.spec import Tool
from sterna.server.tools.tagged import CLOSE, OPEN, tagged_arguments

FUNCTION, FUNCTION_END = "<function=", "</function>"
_LONGEST_NAME = 256
_IN_TEMPLATES = re.compile(MARK + r"(?:\\n|\s)*" + FUNCTION)


class Qwen3CoderParser(HermesParser):
    """Finds the calls, and makes JSON of their arguments. Values that can only be texts are streamed."""

    def __init__(self, tools: Sequence[Tool], whole: bool = False, make_id: Callable[[], str] = new_id) -> None:
        super().__init__(tools, whole, make_id)
        self._of_tools = {tool.name: parameters(tool) for tool in tools}
        self._of_tool: dict[str, Parameter] = {}
        """The parameters of the tool that is called."""
        self._parameter = Parameter("", ANY, False, ANY)
        """The one whose value is being read."""
        self._at_start = True
        """Whether that value begins with the next character."""
        self._separator = "{"
        """What comes before the next parameter in the arguments."""
        self._kept: list[Event] = []
        """The events of a call that are not given out yet: all until it is complete, or those before its arguments."""

    def finish(self) -> list[Event]:
        """The events of what was held back. What came of a value that breaks off is a part of the arguments."""
        if self._state == self._value and not self._whole:
            self._add(_escaped(self._held) if self._parameter.kinds == {"string"} else self._held)
            self._held = ""
        return super().finish()

    def _begun(self) -> bool:
        skipped = self._skip(FUNCTION)
        if skipped == FUNCTION:
            self._state = self._function
        elif skipped == "":
            self._fail()
        return skipped is not None

    def _function(self) -> bool:
        """The state before the name of the tool."""
        name = self._name_in_tag()
        if name is not None and name in self._names:
            self._of_tool, self._separator = self._of_tools[name], "{"
            self._kept.append(CallStart(self._calls, self._make_id(), name))
            self._calls += 1
            self._state = self._between
        elif name is not None:
            self._fail()
        return name is not None

    def _between(self) -> bool:
        """The state before a parameter or the end."""
        skipped = self._skip(OPEN, FUNCTION_END)
        if skipped == OPEN:
            self._state = self._key
        elif skipped == FUNCTION_END:
            self._add("{}" if self._separator == "{" else "}")
            self._give_out()
            self._state = self._ended
        elif skipped == "":
            self._fail()
        return skipped is not None

    def _key(self) -> bool:
        """The state before the name of a parameter."""
        name = self._name_in_tag()
        if name == "":
            self._fail()
        elif name is not None:
            self._parameter = self._of_tool.get(name) or Parameter(name, ANY, False, ANY)
            self._add(f"{self._separator}{json.dumps(name, ensure_ascii=False)}: ")
            self._separator, self._at_start = ", ", True
            self._state = self._value
        return name is not None

    def _value(self) -> bool:
        """The state in a value: one line end after the first tag, and one before the last, are no part of it."""
        is_text = self._parameter.kinds == {"string"}
        if self._at_start:
            self._take(1 if self._held.startswith("\n") else 0)
            self._at_start = False
            self._add('"' if is_text else "")
        at = self._held.find(CLOSE)
        if at < 0 and is_text:
            kept = max(overlap(self._held, CLOSE), overlap(self._held, f"\n{CLOSE}"))
            self._add(_escaped(self._taken(len(self._held) - kept)))
        elif at >= 0:
            value = self._taken(at).removesuffix("\n")
            self._taken(len(CLOSE))
            self._add(f'{_escaped(value)}"' if is_text else self._parameter.read(value))
            self._state = self._between
        return at >= 0

    def _taken(self, count: int) -> str:
        """Takes characters, and returns them."""
        text = self._held[:count]
        self._take(count)
        return text

    def _name_in_tag(self) -> str | None:
        """Takes a name and its bracket; None for too little text, "" for what is no name."""
        name, bracket, _ = self._held.partition(">")
        if len(name) > _LONGEST_NAME:
            return ""
        if not bracket:
            return None
        self._take(len(name) + 1)
        return name

    def _add(self, text: str) -> None:
        """Appends to the arguments."""
        if text:
            self._kept.append(CallArguments(self._calls - 1, text))
        if not self._whole:
            self._give_out()

    def _give_out(self) -> None:
        self._events += self._kept
        self._kept, self._raw = [], ""

    def _fail(self) -> None:
        if self._kept:
            self._kept = []
            self._calls -= 1
        super()._fail()


def _escaped(text: str) -> str:
    """A text as it is between the quotes of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _matches(template: str) -> bool:
    return _IN_TEMPLATES.search(template) is not None and OPEN in template


QWEN3_CODER = Form(
    style="qwen3-coder",
    matches=_matches,
    parser=Qwen3CoderParser,
    mark=MARK,
    head=(f"\n{FUNCTION}{NAME}>\n",),
    arguments=tagged_arguments,
    tail=f"{FUNCTION_END}\n{END}",
    between=("\n", MARK),
    special=(MARK,),
)
