"""`/v1/completions`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from fastapi import APIRouter
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Piece
from sterna.server.dialect import KnownModels
from sterna.server.events import Text
from sterna.server.openai.completions_body import Completion, choice_body, reply
from sterna.server.openai.logprobs import CompletionLogprobs
from sterna.server.openai.reply import Choice, Endpoint, answered

router = APIRouter()


class _Writer:
    """Writes choices with what is new as their `text`."""

    def __init__(self, body: Completion, tokenizer: Tokenizer) -> None:
        self._logprobs = defaultdict[int, CompletionLogprobs](lambda: CompletionLogprobs(tokenizer))

    def begin(self) -> list[Choice]:
        """Nothing: a text has no beginning of its own."""
        return []

    def add(self, piece: Piece) -> Iterator[Choice]:
        """At most one: the text of a piece."""
        text = "".join(event.text for event in piece.events if isinstance(event, Text))
        logprobs = self._logprobs[piece.choice].body(piece.logprobs) if piece.logprobs else None
        reason = piece.finish.reason if piece.finish else None
        if text or logprobs or reason:
            yield choice_body(piece.choice, text, logprobs, reason)


_ENDPOINT = Endpoint("text_completion", "cmpl", reply, _Writer)


@router.post("/completions")
async def complete(body: Completion, models: KnownModels) -> Response:
    """Continues prompts."""
    return await answered(models, body, body.question(), _ENDPOINT)
