"""`/api/chat`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.dialect import KnownModels
from sterna.server.ollama.answer import answer_body, load_body
from sterna.server.ollama.asked import Asked
from sterna.server.ollama.conversation import template_messages
from sterna.server.ollama.output import Part
from sterna.server.question import Question

router = APIRouter()


class Chat(Asked):
    """The body of a request."""

    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []

    def question(self, tokenizer: Tokenizer) -> Question:
        self.refuse_template()
        return Question(
            self.params(),
            messages=template_messages(self.messages),
            tools=self.tools,
            grammar=self.grammar(),
            thinking=self.thinks,
        )

    def shown(self, part: Part) -> dict[str, Any]:
        logprobs = {"logprobs": part.logprobs} if part.logprobs else {}
        return {"message": {"role": "assistant", **part.message("content")}, **logprobs}


@router.post("/chat")
async def chat(body: Chat, models: KnownModels) -> Response:
    """Answers messages. Without any it loads or unloads the model."""
    return await (answer_body if body.messages else load_body)(models, body)
