"""One line on its way through the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from sterna.batch.lines import Line
from sterna.engine.llm import LLM
from sterna.engine.request import HiddenRequest, Request
from sterna.engine.sampling import SamplingParams
from sterna.server.answer import Answer, Arrival, Piece, Usage, wholes
from sterna.server.errors import ApiError, invalid_fields
from sterna.server.events import CallStart
from sterna.server.openai import chat_body as chat
from sterna.server.openai import completions_body as completions
from sterna.server.openai import embeddings_body as embeddings
from sterna.server.openai import responses_body as responses
from sterna.server.openai.stamp import Stamp
from sterna.server.vectors import cut

BODIES: Mapping[str, type[BaseModel]] = {
    "/v1/chat/completions": chat.Chat,
    "/v1/completions": completions.Completion,
    "/v1/embeddings": embeddings.Embeddings,
    "/v1/responses": responses.ResponseBody,
}
_REPLIES: Mapping[type[BaseModel], Callable[..., dict[str, Any]]] = {
    chat.Chat: chat.reply,
    completions.Completion: completions.reply,
    responses.ResponseBody: responses.reply,
}


@dataclass(frozen=True)
class Reply:
    """What a line gets."""

    body: dict[str, Any]
    """The reply of OpenAI's API, or the columns that a plain row gains."""
    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0


class Work(Protocol):
    """A line while the engine computes it."""

    def begin(self) -> None:
        """Submits it to the engine."""

    def cancel(self) -> None:
        """Takes it out of the engine."""

    def reply(self) -> Reply:
        """The reply, once the engine has finished. Raises the error with which it ended."""


Finished = Callable[[], None]
"""Is called on the engine's thread when a work has ended."""


def work_of(
    llm: LLM,
    line: Line,
    stamp: Stamp,
    seed: int,
    defaults: SamplingParams,
    lora: Mapping[str, float],
    finished: Finished,
) -> Work:
    """The work for a line. `seed`: for a line that has none; `defaults`: for plain rows; `lora`: scales of adapters by
    name, of which a line may give others.

    Raises `ApiError`, and as `LLM.generation`, for what cannot be done.
    """
    fields = line.body if line.row is None else {**_fields(defaults), **line.body}
    # Full passes gain nothing by drafts, and how many tokens come at a time would depend on the other lines.
    fields = {**fields, "lookup": 0}
    if fields.get("seed") in (None, -1):
        fields["seed"] = seed
    try:
        body = BODIES[line.url].model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error.errors()) from None
    if isinstance(body, embeddings.Embeddings):
        return _EmbeddingWork(llm, body, stamp, lora, finished)
    return _AnswerWork(llm, line, body, stamp, lora, finished)


def _fields(params: SamplingParams) -> dict[str, Any]:
    """Options of sampling as fields of a request."""
    fields = {name: getattr(params, name) for name in completions.Completion.model_fields if hasattr(params, name)}
    return {**fields, "max_tokens": -1 if params.max_tokens is None else params.max_tokens, "stop": list(params.stop)}


class _AnswerWork:
    def __init__(
        self, llm: LLM, line: Line, body: Any, stamp: Stamp, lora: Mapping[str, float], finished: Finished
    ) -> None:
        self._llm, self._line, self._body, self._stamp, self._finished = llm, line, body, stamp, finished
        self._arrived: list[Arrival] = []
        question = body.question()
        question = replace(question, lora={**lora, **question.lora})
        self._answer = Answer(llm, question, self._arrive, background=True)
        self._unended = self._answer.running
        if line.row is not None and self._unended != 1:
            raise ApiError(400, "A plain row has one prompt and one answer.", param="n")
        self.begin, self.cancel = self._answer.begin, self._answer.cancel

    def _arrive(self, arrival: Arrival, urgent: bool) -> None:
        self._arrived.append(arrival)
        if arrival.text is None:
            self._unended -= 1
            if self._unended == 0:
                self._finished()

    def reply(self) -> Reply:
        pieces = [self._renamed(piece) for piece in self._answer.pieces(self._arrived)]
        usage = self._answer.usage
        if self._line.row is None:
            # What the prefix cache had depends on the lines before, and a job's output must not.
            told = replace(usage, cached=0)
            body = _REPLIES[type(self._body)](self._body, self._llm.tokenizer, pieces, told, self._stamp)
        else:
            body = _columns(pieces, usage)
        return Reply(body, usage.prompt, usage.completion, usage.cached)

    def _renamed(self, piece: Piece) -> Piece:
        """The piece with ids of calls that every run gives."""
        for at, event in enumerate(piece.events):
            if isinstance(event, CallStart):
                piece.events[at] = replace(event, id=f"call_{self._stamp.key}{piece.choice}{event.index}")
        return piece


def _columns(pieces: list[Piece], usage: Usage) -> dict[str, Any]:
    """What a plain row gains."""
    (answer,) = wholes(pieces)
    assert answer.finish is not None
    columns: dict[str, Any] = {"generated_text": answer.text}
    if answer.thinking:
        columns["reasoning_text"] = answer.thinking
    if answer.calls:
        columns["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in answer.calls]
    return columns | {
        "finish_reason": answer.finish.reason,
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
    }


class _EmbeddingWork:
    def __init__(
        self, llm: LLM, body: embeddings.Embeddings, stamp: Stamp, lora: Mapping[str, float], finished: Finished
    ) -> None:
        self._llm, self._body, self._stamp, self._finished = llm, body, stamp, finished
        texts = completions.prompt_list(body.input)
        self._requests: list[HiddenRequest] = llm.embedding_requests(texts, self._done, {**lora, **body.lora})
        for request in self._requests:
            request.background = True
        self._unended = len(self._requests)

    def begin(self) -> None:
        self._llm.submit(self._requests)

    def cancel(self) -> None:
        self._llm.cancel(self._requests)

    def _done(self, request: Request) -> None:
        self._unended -= 1
        if self._unended == 0:
            self._finished()

    def reply(self) -> Reply:
        for request in self._requests:
            if request.error is not None:
                raise request.error
        vectors = cut(self._llm.embeddings(self._requests), self._body.dimensions)
        tokens = sum(request.prompt_tokens for request in self._requests)
        cached = sum(request.cached_tokens or 0 for request in self._requests)
        return Reply(embeddings.reply(self._body, vectors, tokens, self._stamp.model), tokens, 0, cached)
