"""Thoughts before an answer, `<think>...</think>`, parted from it (Qwen3, DeepSeek R1 and their kin)."""

from __future__ import annotations

from sterna.server.events import Event, Text, Thinking

OPEN, CLOSE = "<think>", "</think>"


class ThinkingParser:
    """Thoughts are what stands between the tags at the beginning of the text; `is_open`: the prompt has the first tag
    already, as some templates write it. Tags anywhere else are text of the answer."""

    def __init__(self, is_open: bool) -> None:
        self._held = ""
        self._began, self._thinks = is_open, is_open

    def feed(self, text: str) -> list[Event]:
        """What became certain with this piece; the beginning of a tag is held back."""
        self._held += text
        if not self._began:
            start = self._held.lstrip()
            if OPEN.startswith(start[: len(OPEN)]) and len(start) < len(OPEN):
                return []
            self._began, self._thinks = True, start.startswith(OPEN)
            self._held = start.removeprefix(OPEN) if self._thinks else self._held
        if not self._thinks:
            return self._given(Text, len(self._held))
        end = self._held.find(CLOSE)
        if end < 0:
            held = next((n for n in range(len(CLOSE) - 1, 0, -1) if self._held.endswith(CLOSE[:n])), 0)
            return self._given(Thinking, len(self._held) - held)
        thoughts = self._given(Thinking, end)
        self._held, self._thinks = self._held.removeprefix(CLOSE), False
        return thoughts + self._given(Text, len(self._held))

    def finish(self) -> list[Event]:
        """What was held back."""
        return self._given(Thinking if self._thinks else Text, len(self._held))

    def _given(self, kind: type[Text] | type[Thinking], length: int) -> list[Event]:
        """The first `length` characters of what is held, as an event, if there are any."""
        given, self._held = self._held[:length], self._held[length:]
        return [kind(given)] if given else []
