"""The output of a response, item by item, and the events that tell of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sterna.engine.generation import TokenLogprob
from sterna.model.tokenizer import Tokenizer
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking
from sterna.server.openai.logprobs import chat_logprobs

Told = dict[str, Any]
"""An event of a stream, without its number."""


class Output:
    """Items in the order in which the model writes them: thoughts, messages, calls of functions.

    At most one item is open. An event of another kind closes it, and opens the next.
    """

    def __init__(self, key: str, tokenizer: Tokenizer | None) -> None:
        """`key`: what the ids of the items have in common. `tokenizer`: for log-probabilities; None where these were
        not asked for."""
        self._key = key
        self.items: list[dict[str, Any]] = []
        self._tokenizer = tokenizer
        self._open: Event | None = None

    def add(self, event: Event, logprobs: list[TokenLogprob]) -> Iterator[Told]:
        """Takes what the model wrote, and the log-probabilities of the tokens that came with it."""
        match event:
            case Text(text):
                if not isinstance(self._open, Text):
                    yield from self.close()
                    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
                    yield from self._begin(event, "msg", {"type": "message", "role": "assistant", "content": []})
                    yield self._part("response.content_part.added", {**part})
                    self._item["content"].append(part)
                entries = self._entries(logprobs)
                self._content["text"] += text
                self._content["logprobs"] += entries
                yield self._part_of("response.output_text.delta", delta=text, logprobs=entries)
            case Thinking(text):
                if not isinstance(self._open, Thinking):
                    yield from self.close()
                    part = {"type": "reasoning_text", "text": ""}
                    yield from self._begin(event, "rs", {"type": "reasoning", "summary": [], "content": []})
                    yield self._part("response.content_part.added", {**part})
                    self._item["content"].append(part)
                self._content["text"] += text
                yield self._part_of("response.reasoning_text.delta", delta=text)
            case CallStart(_, id, name):
                yield from self.close()
                call = {"type": "function_call", "call_id": id, "name": name, "arguments": ""}
                yield from self._begin(event, "fc", call)
            case CallArguments(_, text):
                self._item["arguments"] += text
                yield self._of_item("response.function_call_arguments.delta", delta=text)

    def close(self, status: str = "completed") -> Iterator[Told]:
        """Ends the open item, if there is one."""
        match self._open:
            case None:
                return
            case Text():
                text, logprobs = self._content["text"], self._content["logprobs"]
                yield self._part_of("response.output_text.done", text=text, logprobs=logprobs)
                yield self._part("response.content_part.done", self._content)
            case Thinking():
                yield self._part_of("response.reasoning_text.done", text=self._content["text"])
                yield self._part("response.content_part.done", self._content)
            case _:
                name, arguments = self._item["name"], self._item["arguments"]
                yield self._of_item("response.function_call_arguments.done", name=name, arguments=arguments)
        self._item["status"] = status
        self._open = None
        yield {"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": self._item}

    @property
    def _item(self) -> dict[str, Any]:
        return self.items[-1]

    @property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = self._item["content"][-1]
        return content

    def _begin(self, event: Event, prefix: str, fields: dict[str, Any]) -> Iterator[Told]:
        self._open = event
        self.items.append({"id": f"{prefix}_{self._key}{len(self.items)}", **fields, "status": "in_progress"})
        item = {**self._item, **({"content": []} if "content" in fields else {})}
        yield {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item}

    def _of_item(self, kind: str, **fields: Any) -> Told:
        return {"type": kind, "item_id": self._item["id"], "output_index": len(self.items) - 1, **fields}

    def _part_of(self, kind: str, **fields: Any) -> Told:
        return self._of_item(kind, content_index=0, **fields)

    def _part(self, kind: str, part: dict[str, Any]) -> Told:
        return self._part_of(kind, part=part)

    def _entries(self, logprobs: list[TokenLogprob]) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        if self._tokenizer is not None:
            entries = chat_logprobs(self._tokenizer, logprobs)["content"]
        return entries
