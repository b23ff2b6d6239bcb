"""What a request asks of a model, in no dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sterna.engine.grammar import Grammar
from sterna.engine.prompts import Prompt
from sterna.engine.sampling import SamplingParams


@dataclass(frozen=True)
class Question:
    """Prompts to continue or, where there are none, messages to answer."""

    params: SamplingParams
    prompts: Sequence[Prompt] = ()
    suffix: str | None = None
    """The text after the gap that continues each prompt; None where there is no gap."""
    messages: Sequence[Mapping[str, Any]] = ()
    prefill: str = ""
    """How the answer to the messages begins; the model goes on from there."""
    context: Sequence[int] = ()
    """Token ids of an earlier exchange, from which prompts that are text, and messages, go on."""
    cache_prompt: bool = True
    """Whether the prompts may begin with what earlier requests have computed. It makes no other text."""
    n: int = 1
    """How many choices for each prompt; the first has `params.seed`, and each later one the next seed."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Functions in OpenAI's form: {"type": "function", "function": {"name", "description", "parameters"}}."""
    tool_choice: str | Mapping[str, Any] = "auto"
    """`none`, `auto`, `required`, or the function to call: {"name": ...}."""
    parallel_tool_calls: bool = True
    lora: Mapping[str, float] = field(default_factory=dict)
    """Scales of adapters by name, beside the adapter of the model's name."""
    grammar: Grammar | None = None
    """What the text must look like."""
    thinking: bool | None = None
    """Whether the model thinks before it answers; None leaves it to the template."""
    parts_thinking: bool = True
    """Whether thoughts come apart from the answer; otherwise they are part of its text."""
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """What else the chat template sees."""
