"""Log-probabilities as OpenAI's API gives them. They are those of the model before temperature, penalties, bias and
grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sterna.engine.generation import TokenLogprob
from sterna.model.tokenizer import Tokenizer

LEAST = -9999.0
"""Stands for minus infinity, which JSON lacks."""


def chat_logprobs(tokenizer: Tokenizer, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """`logprobs` of a chat completion."""

    def entry(token: int, logprob: float | None) -> dict[str, Any]:
        data = tokenizer.token_bytes(token)
        return {
            "token": data.decode("utf-8", "replace"),
            "bytes": list(data),
            "logprob": None if logprob is None else max(logprob, LEAST),
        }

    return {
        "content": [
            {**entry(each.token_id, each.logprob), "top_logprobs": [entry(*top) for top in each.top]}
            for each in logprobs
        ],
        "refusal": None,
    }


class CompletionLogprobs:
    """`logprobs` of a completion, which knows where in the text each token begins."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._decoder, self._offset = tokenizer, tokenizer.stream(continuation=True), 0

    def body(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
        """The entries of the next tokens."""
        offsets = []
        for each in logprobs:
            offsets.append(self._offset)
            self._offset += len(self._decoder.push(each.token_id))
        return {
            "tokens": [self._text(each.token_id) for each in logprobs],
            "token_logprobs": [None if each.logprob is None else max(each.logprob, LEAST) for each in logprobs],
            "top_logprobs": [self._top(each) for each in logprobs],
            "text_offset": offsets,
        }

    def _top(self, entry: TokenLogprob) -> dict[str, float] | None:
        """The most likely tokens by their text; of several with one text the best."""
        if entry.logprob is None:
            return None
        best: dict[str, float] = {}
        for token, logprob in entry.top:
            best.setdefault(self._text(token), max(logprob, LEAST))
        return best

    def _text(self, token: int) -> str:
        return self._tokenizer.token_bytes(token).decode("utf-8", "replace")
