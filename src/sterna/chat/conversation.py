"""A conversation: its messages, and which of them still fit into the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sterna.engine.prompts import too_long
from sterna.files.text import whole_characters

Message = dict[str, str]
"""`role` (user or assistant), `content` and, of answers, perhaps `reasoning_content`."""
Encode = Callable[[list[Message]], Sequence[int]]
"""The ids of a prompt that asks for the answer to the last of some messages."""


@dataclass
class Conversation:
    """A system prompt, and the messages of user and model in turn."""

    system: str | None = None
    messages: list[Message] = field(default_factory=list)
    unsent: int = 0
    """How many of the oldest messages are not sent any more, for want of room in the context."""

    @property
    def turns(self) -> int:
        """How many messages the user has written."""
        return len(self._starts(0))

    @property
    def unsent_turns(self) -> int:
        """How many of the user's messages are not sent any more."""
        return self.turns - len(self._starts(self.unsent))

    def ask(self, text: str) -> None:
        """Adds a message of the user."""
        self.messages.append({"role": "user", "content": whole_characters(text)})

    def answer(self, text: str, thoughts: str = "") -> None:
        """Adds an answer of the model."""
        thought = {"reasoning_content": thoughts} if thoughts else {}
        self.messages.append({"role": "assistant", "content": text, **thought})

    def undo(self) -> str | None:
        """Removes the last message of the user and what follows it. Returns its text; None where there is none."""
        starts = self._starts(0)
        if not starts:
            return None
        text = self.messages[starts[-1]]["content"]
        del self.messages[starts[-1] :]
        self.unsent = min(self.unsent, len(self.messages))
        return text

    def reset(self) -> None:
        """Forgets all messages; the system prompt stays."""
        self.messages, self.unsent = [], 0

    def everything(self) -> list[Message]:
        """The system prompt, if any, and all messages."""
        return self._with_system(self.messages)

    def sent(self) -> list[Message]:
        """The system prompt, if any, and the messages that are sent."""
        return self._with_system(self.messages[self.unsent :])

    def fit(self, encode: Encode, context: int, room: int) -> tuple[Sequence[int], int]:
        """The prompt for the next answer, which leaves `room` tokens of `context` free, and how many turns it had to
        leave out for that.

        Where room is short the oldest turns are left out from then on, until half the context is free: later prompts
        then begin as this one does, so the prefix cache has them. The system prompt and the last message are always
        sent. Raises `ContextLengthError` where these alone leave no room for a single token.
        """
        ids = encode(self.sent())
        if len(ids) <= context - room:
            return ids, 0
        starts = [start for start in self._starts(self.unsent) if start > self.unsent]
        before = self.unsent_turns
        if starts:

            def is_short(start: int) -> bool:
                return len(encode(self._with_system(self.messages[start:]))) <= context // 2

            self.unsent = starts[min(bisect_left(starts, True, key=is_short), len(starts) - 1)]
            ids = encode(self.sent())
        if len(ids) >= context:
            raise too_long(str(len(ids)), context, context - 1)
        return ids, self.unsent_turns - before

    def _with_system(self, messages: list[Message]) -> list[Message]:
        return [{"role": "system", "content": self.system}, *messages] if self.system else list(messages)

    def _starts(self, first: int) -> list[int]:
        """Where turns begin, from message `first` on."""
        return [at for at in range(first, len(self.messages)) if self.messages[at]["role"] == "user"]
