"""The fields that say how text is drawn, and what goes back about it, in chat completions and completions alike."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from sterna.engine.grammar import Grammar
from sterna.engine.sampling import SamplingParams
from sterna.server.answer import Usage
from sterna.server.body import Body

MOST_CHOICES = 128
MOST_LOGPROBS = 20
MOST_STOPS = 64


class StreamOptions(Body):
    include_usage: bool = False


class Sampled(Body):
    """Fields of OpenAI and, from `top_k` on, ours and llama-server's beyond them."""

    model: str | None = None
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    stream: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions)
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] = []
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = {}
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    ignore_eos: bool = False
    lookup: int = 0
    cache_prompt: bool = True
    return_progress: bool = False
    json_schema: dict[str, Any] | str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    lora: dict[str, float] = {}

    def form(self) -> Grammar | None:
        """What the text must look like. Raises `ArgumentError` for two forms, `GrammarError` for a wrong one."""
        return Grammar.of(self.json_schema, self.regex, self.choice, self.grammar)

    def params(self, logprobs: int | None, max_tokens: int | None = None, echo: bool = False) -> SamplingParams:
        """As the engine takes them: -1 of other servers means no limit of tokens, a random seed, no limit of k.

        Raises `OptionError` for a value that cannot work.
        """
        limit = self.max_tokens if max_tokens is None else max_tokens
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return SamplingParams(
            max_tokens=None if limit == -1 else limit,
            min_tokens=self.min_tokens,
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=self.logit_bias,
            logprobs=logprobs,
            echo=echo,
            seed=None if self.seed in (None, -1) else self.seed % 2**64,
            stop=tuple(text for text in stop if text),
            ignore_eos=self.ignore_eos,
            lookup=self.lookup,
        )


def usage_body(usage: Usage) -> dict[str, Any]:
    """Counts of tokens."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
