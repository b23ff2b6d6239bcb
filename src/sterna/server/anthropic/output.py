"""The message of a reply, block by block, and the events that tell of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from sterna.server.answer import Finish, Usage
from sterna.server.calls import object_of
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking

Told = dict[str, Any]
"""An event of a stream."""

_REASONS = {"stop": "end_turn", "tool_calls": "tool_use"}


class Message:
    """A message while it is made. At most one block is open: an event of another kind closes it and opens the next."""

    def __init__(self, model: str, usage: Usage, max_tokens: int) -> None:
        """`usage`: what is known at the beginning."""
        self._content: list[dict[str, Any]] = []
        self._open: Event | None = None
        self._arguments = ""
        self._max_tokens = max_tokens
        self._message: dict[str, Any] = {
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage_body(usage),
        }

    def begin(self) -> Iterator[Told]:
        """The event before the first block."""
        yield {"type": "message_start", "message": self._message}

    def add(self, event: Event) -> Iterator[Told]:
        """Takes what the model wrote."""
        match event:
            case Text(text):
                yield from self._go_on(event, {"type": "text", "text": ""})
                self._block["text"] += text
                yield self._delta("text_delta", text=text)
            case Thinking(text):
                yield from self._go_on(event, {"type": "thinking", "thinking": "", "signature": ""})
                self._block["thinking"] += text
                yield self._delta("thinking_delta", thinking=text)
            case CallStart(_, id, name):
                yield from self._close()
                yield from self._begin(event, {"type": "tool_use", "id": id, "name": name, "input": {}})
                self._arguments = ""
            case CallArguments(_, text):
                self._arguments += text
                yield self._delta("input_json_delta", partial_json=text)

    def end(self, finish: Finish, usage: Usage) -> Iterator[Told]:
        """The events after the last block."""
        if not self._content:
            yield from self._begin(Text(""), {"type": "text", "text": ""})
        yield from self._close()
        delta = {"stop_reason": self._stop_reason(finish), "stop_sequence": finish.stop_string}
        counts = _usage_body(usage)
        self._message |= {**delta, "usage": counts}
        yield {"type": "message_delta", "delta": delta, "usage": counts}
        yield {"type": "message_stop"}

    @property
    def whole(self) -> dict[str, Any]:
        """The message, once it has ended."""
        return {**self._message, "content": self._content}

    @property
    def _block(self) -> dict[str, Any]:
        return self._content[-1]

    def _go_on(self, event: Event, block: dict[str, Any]) -> Iterator[Told]:
        """Opens a block, unless one of the event's kind is open."""
        if type(self._open) is not type(event):
            yield from self._close()
            yield from self._begin(event, block)

    def _begin(self, event: Event, block: dict[str, Any]) -> Iterator[Told]:
        self._open = event
        self._content.append(block)
        yield {"type": "content_block_start", "index": len(self._content) - 1, "content_block": {**block}}

    def _delta(self, kind: str, **fields: str) -> Told:
        return {"type": "content_block_delta", "index": len(self._content) - 1, "delta": {"type": kind, **fields}}

    def _close(self) -> Iterator[Told]:
        if self._open is None:
            return
        if isinstance(self._open, Thinking):
            yield self._delta("signature_delta", signature="")
        if isinstance(self._open, CallStart):
            given = object_of(self._arguments)
            # The arguments of a call that is broken off are no object. They stay readable as a text.
            self._content[-1] = (
                {"type": "text", "text": self._arguments} if given is None else {**self._block, "input": given}
            )
        self._open = None
        yield {"type": "content_block_stop", "index": len(self._content) - 1}

    def _stop_reason(self, finish: Finish) -> str:
        if finish.stop_string is not None:
            return "stop_sequence"
        if finish.reason == "length":
            is_full = finish.completion.completion_tokens < self._max_tokens
            return "model_context_window_exceeded" if is_full else "max_tokens"
        return _REASONS[finish.reason]


def _usage_body(usage: Usage) -> dict[str, Any]:
    """Counts of tokens; those of the prompt are parted into new ones and such as the prefix cache had."""
    return {
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
