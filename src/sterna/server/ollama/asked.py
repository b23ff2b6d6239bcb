"""What chats and generations have in common: how text is drawn, and what the dialect asks of each of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field

from sterna.engine.grammar import Grammar
from sterna.engine.sampling import SamplingParams
from sterna.errors import shown
from sterna.model.tokenizer import Tokenizer
from sterna.server.answer import Answer
from sterna.server.body import Body
from sterna.server.errors import ApiError
from sterna.server.ollama.names import NamedBody
from sterna.server.ollama.output import Part
from sterna.server.openai.sampling import MOST_LOGPROBS, MOST_STOPS
from sterna.server.question import Question


class Options(Body):
    """Ollama's options with its defaults, but for `repeat_penalty`, which is off: Ollama's looks at the last tokens
    only, and the engine's at all. The sizes of the context and of batches are the server's affair."""

    num_predict: int = -1
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = -1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] = []


class Asked(NamedBody):
    """The body of a chat or a generation."""

    stream: bool = True
    format: dict[str, Any] | str = ""
    options: Options = Options()
    think: bool | str | None = None
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=MOST_LOGPROBS)
    template: str = ""

    @abstractmethod
    def question(self, tokenizer: Tokenizer) -> Question:
        """What is asked of a model with this tokenizer. Raises `ApiError` or `OptionError` for what cannot be."""

    @abstractmethod
    def shown(self, part: Part) -> dict[str, Any]:
        """A part of the answer as the reply has it."""

    def closing(self, answer: Answer) -> dict[str, Any]:
        """What the reply has at its end, beside its counts."""
        return {}

    def params(self) -> SamplingParams:
        """As the engine takes them. Raises `OptionError` for a value that cannot work."""
        options = self.options
        stop = [options.stop] if isinstance(options.stop, str) else options.stop
        return SamplingParams(
            max_tokens=options.num_predict if options.num_predict > 0 else None,  # -1 and -2 have no limit
            temperature=options.temperature,
            top_k=max(options.top_k, 0),
            top_p=options.top_p,
            min_p=options.min_p,
            repetition_penalty=options.repeat_penalty if options.repeat_last_n else 1.0,
            presence_penalty=options.presence_penalty,
            frequency_penalty=options.frequency_penalty,
            seed=None if options.seed in (None, -1) else options.seed % 2**64,
            stop=tuple(text for text in stop if text),
            logprobs=self.top_logprobs if self.logprobs else None,
        )

    def grammar(self) -> Grammar | None:
        """What the text must look like. Raises `ApiError` for an unknown format, `GrammarError` for a wrong schema."""
        match self.format:
            case "":
                return None
            case "json":
                return Grammar.json_object()
            case dict() as schema:
                return Grammar.json_schema(schema)
        raise ApiError(400, f"The format is json or a schema, not {shown(self.format)}.", param="format")

    @property
    def thinks(self) -> bool | None:
        """Whether the model thinks before it answers; how hard it does is its own affair."""
        return self.think if isinstance(self.think, bool) or self.think is None else True

    def refuse_template(self) -> None:
        """Raises `ApiError` where the request brings a template."""
        if self.template:
            raise ApiError(400, "A template cannot be sent; the model's own is used.", param="template")
