"""A model that says what a test tells it to say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sterna.engine.generation import Completion


class WordTokenizer:
    """Each word of a message is a token, and so is the beginning of each message and that of the answer."""

    chat_template: str | None = "{{ messages }}"
    end = ""
    """The text with which each prompt ends."""

    def encode_chat(self, messages: Sequence[dict[str, str]], add_generation_prompt: bool = True) -> list[int]:
        return [1] * (sum(1 + len(message["content"].split()) for message in messages) + add_generation_prompt)

    def decode(self, ids: Sequence[int], skip_special: bool = True, continuation: bool = False) -> str:
        return " ".join("word" for _ in ids) + self.end


@dataclass
class ScriptedLLM:
    """Stands in for `LLM`: its answers are `answers` in turn, each a list of pieces. An exception among the pieces
    fails the request there; after a list that ends in None nothing more comes until the request is cancelled."""

    answers: list[list[Any]] = field(default_factory=list)
    context_length: int = 100
    stop_reason: str = "eos"
    name: str = "scripted"

    def __post_init__(self) -> None:
        self.tokenizer = WordTokenizer()
        self.checkpoint = SimpleNamespace(name=self.name)
        self.threads = 1
        self.prompts: list[int] = []
        self.params: list[Any] = []
        self.cancelled = threading.Event()
        self.closed = False

    def generation(self, prompt: Sequence[int], params: Any, *, done: Any, deliver: Any, **_: Any) -> SimpleNamespace:
        self.prompts.append(len(prompt))
        self.params.append(params)
        made = SimpleNamespace(prompt_tokens=len(prompt), num_computed=0, completion_ids=[], error=None)
        made.done, made.deliver = done, deliver
        made.completion = lambda: Completion(
            "", made.completion_ids, len(prompt), len(made.completion_ids), self.stop_reason, 1.0, 1.0
        )
        return made

    def submit(self, requests: Sequence[SimpleNamespace]) -> None:
        (request,) = requests
        for piece in self.answers.pop(0):
            if piece is None:
                return
            if isinstance(piece, BaseException):
                request.error = piece
                break
            request.completion_ids.append(1)
            request.deliver(piece)
        request.done(request)

    def cancel(self, requests: Sequence[SimpleNamespace]) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed = True
