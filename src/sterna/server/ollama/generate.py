"""`/api/generate`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Answer
from sterna.server.dialect import KnownModels
from sterna.server.errors import ApiError
from sterna.server.ollama.answer import answer_body, load_body
from sterna.server.ollama.asked import Asked
from sterna.server.ollama.conversation import refuse_images
from sterna.server.ollama.output import Part
from sterna.server.question import Question

router = APIRouter()


class Generation(Asked):
    """The body of a request."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    raw: bool = False
    context: list[int] = []
    images: list[Any] = []

    def question(self, tokenizer: Tokenizer) -> Question:
        self.refuse_template()
        refuse_images(self.images)
        if self.raw and (self.system or self.context):
            raise ApiError(400, "A raw prompt goes with neither system nor context.", param="raw")
        given: dict[str, Any] = {"grammar": self.grammar(), "thinking": self.thinks}
        if self.suffix:
            return Question(self.params(), prompts=[self.prompt], suffix=self.suffix, **given)
        if self.raw or not (tokenizer.chat_template or self.system):
            return Question(self.params(), prompts=[self.prompt], context=self.context, **given)
        system = [{"role": "system", "content": self.system}] if self.system else []
        messages = [*system, {"role": "user", "content": self.prompt}]
        return Question(self.params(), messages=messages, context=self.context, **given)

    def shown(self, part: Part) -> dict[str, Any]:
        return {**part.message("response"), **({"logprobs": part.logprobs} if part.logprobs else {})}

    def closing(self, answer: Answer) -> dict[str, Any]:
        return {} if self.raw else {"context": answer.token_ids}


@router.post("/generate")
async def generate(body: Generation, models: KnownModels) -> Response:
    """Continues a prompt, or answers it by the model's template. Without one it loads or unloads the model."""
    return await (answer_body if body.prompt or body.suffix else load_body)(models, body)
