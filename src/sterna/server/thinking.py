"""Parts a model's thoughts from its answer."""

from __future__ import annotations

from collections.abc import Sequence

from sterna.server.events import Event, Parser, Text, Thinking

TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<thought>", "</thought>"),
)
"""What stands before and after thoughts. A template that writes one pair of them asks for thoughts in it."""


def tags_of(template: str | None) -> tuple[str, str] | None:
    """The tags in which a chat template has its model think; None where it knows no thoughts."""
    return next((tags for tags in TAGS if tags[1] in (template or "")), None)


def is_open(prompt: str, tags: tuple[str, str]) -> bool:
    """Whether a prompt, or its end, already opens the thoughts that the model goes on with."""
    return prompt.rstrip().endswith(tags[0])


class ThinkingParser:
    """Thoughts, if the text begins with their tag or the prompt opened it, then the answer.

    White space around the tags is dropped. Thoughts that do not end are thoughts to the end of the text.
    """

    def __init__(self, tags: tuple[str, str], opened: bool = False) -> None:
        """`opened`: the prompt ends with the opening tag (`is_open`)."""
        self._begin, self._end = tags
        self._held = ""
        self._is_thinking, self._may_begin, self._at_start = opened, True, True

    def feed(self, text: str) -> list[Event]:
        """The events that became certain with this piece of text."""
        self._held += text
        return [event for event in self._step() if event.text]

    def finish(self) -> list[Event]:
        """The events of what was held back."""
        held, self._held = self._held, ""
        kind = Thinking if self._is_thinking else Text
        if self._is_thinking or not self._may_begin:
            held = "" if not held.strip() else held
        return [kind(held)] if held else []

    def _step(self) -> list[Text | Thinking]:
        if self._is_thinking:
            return self._thoughts()
        if not self._may_begin:
            return self._answer()
        rest = self._held.lstrip()
        if rest.startswith(self._begin):
            self._held = rest[len(self._begin) :]
            self._is_thinking = True
            return self._thoughts()
        if self._begin.startswith(rest):
            return []
        self._may_begin = self._at_start = False
        return self._answer()

    def _thoughts(self) -> list[Text | Thinking]:
        self._drop_space_at_the_start()
        at = self._held.find(self._end)
        if at >= 0:
            thoughts = self._held[:at].rstrip()
            self._held = self._held[at + len(self._end) :]
            self._is_thinking, self._may_begin, self._at_start = False, False, True
            return [Thinking(thoughts), *self._answer()]
        # White space at the end may be that before the closing tag, of which a part may have come.
        kept = next((n for n in range(len(self._end) - 1, 0, -1) if self._held.endswith(self._end[:n])), 0)
        end = len(self._held[: len(self._held) - kept].rstrip())
        thoughts, self._held = self._held[:end], self._held[end:]
        return [Thinking(thoughts)]

    def _answer(self) -> list[Text | Thinking]:
        self._drop_space_at_the_start()
        text, self._held = self._held, ""
        return [Text(text)]

    def _drop_space_at_the_start(self) -> None:
        if self._at_start:
            self._held = self._held.lstrip()
            self._at_start = not self._held


class Chain:
    """A parser whose text is what another gives as text: calls are looked for in the answer, not in thoughts."""

    def __init__(self, first: Parser, second: Parser) -> None:
        self._first, self._second = first, second

    def feed(self, text: str) -> list[Event]:
        """The events that became certain with this piece of text."""
        return self._passed(self._first.feed(text))

    def finish(self) -> list[Event]:
        """The events of what was held back."""
        return [*self._passed(self._first.finish()), *self._second.finish()]

    def _passed(self, events: Sequence[Event]) -> list[Event]:
        passed: list[Event] = []
        for event in events:
            passed += self._second.feed(event.text) if isinstance(event, Text) else [event]
        return passed
