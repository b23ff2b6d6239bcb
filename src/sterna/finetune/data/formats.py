"""The formats of examples in files: what a row of each says, as a conversation, a text, or tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sterna.files.text import whole_characters

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages in the form that chat templates read; what the assistant says is learned."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None


@dataclass(frozen=True)
class Pair:
    """A request and its answer, in one turn of the model's own template; `plain` is the prompt for a model that has no
    template."""

    request: str
    answer: str
    plain: str


@dataclass(frozen=True)
class Completion:
    """A text of which all is learned."""

    text: str


@dataclass(frozen=True)
class Tokens:
    """Token ids, and for each whether it is learned."""

    ids: list[int]
    learned: list[bool]


Example = Conversation | Pair | Completion | Tokens

SPEAKERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant", "model", "claude"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
"""The roles of `messages` by what ShareGPT's rows call them."""

_ALPACA = (
    "Below is an instruction that describes a task{with_input}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
"""The prompt of Stanford Alpaca (github.com/tatsu-lab/stanford_alpaca)."""


def _messages(row: Row) -> Conversation:
    """`{"messages": [{"role", "content", ...}], "tools": [...]}`, as OpenAI's API has them."""
    messages, tools = row["messages"], row.get("tools")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("messages is no list of messages")
    return Conversation(_clean(messages), _clean(json.loads(tools) if isinstance(tools, str) else tools) or None)


def _sharegpt(row: Row) -> Conversation:
    """`{"conversations": [{"from", "value"}], "system": "..."}`."""
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise ValueError("conversations is no list")
    messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    for turn in turns:
        if turn["from"] not in SPEAKERS:
            raise ValueError(f"nobody known is called {turn['from']!r}")
        messages.append({"role": SPEAKERS[turn["from"]], "content": turn["value"]})
    return Conversation(_clean(messages))


def _alpaca(row: Row) -> Pair:
    """`{"instruction", "input", "output"}`, where the input may be empty or missing."""
    instruction, given = _text(row["instruction"]), _text(row.get("input") or "")
    with_input = ", paired with an input that provides further context" if given else ""
    plain = _ALPACA.format(
        with_input=with_input, instruction=instruction, input=f"### Input:\n{given}\n\n" if given else ""
    )
    return Pair(f"{instruction}\n\n{given}" if given else instruction, _text(row["output"]), plain)


def _prompt(row: Row) -> Pair:
    """`{"prompt", "response"}`; the response may be called `completion`."""
    prompt = _text(row["prompt"])
    return Pair(prompt, _text(row["response"] if "response" in row else row["completion"]), prompt)


def _completion(row: Row) -> Completion:
    """`{"text"}`."""
    return Completion(_text(row["text"]))


def _tokens(row: Row) -> Tokens:
    """`{"input_ids", "labels"}`: a label of -100 is not learned; without labels everything is."""
    ids = row["input_ids"]
    labels = row.get("labels")
    labels = ids if labels is None else labels
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        raise ValueError("input_ids is no list of numbers")
    if not isinstance(labels, list) or len(labels) != len(ids):
        raise ValueError("labels is no list of as many numbers as input_ids")
    if any(label not in (-100, token) for label, token in zip(labels, ids, strict=True)):
        raise ValueError("a label is neither -100 nor the token itself")
    return Tokens(ids, [label != -100 for label in labels])


FORMATS: dict[str, Callable[[Row], Example]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "prompt": _prompt,
    "completion": _completion,
    "tokens": _tokens,
}
"""What makes an example of a row, by the format's name. Each raises ValueError, TypeError or KeyError for a row of
another form."""


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is a {type(value).__name__}")
    return whole_characters(value)


def _clean(value: Any) -> Any:
    """A JSON value whose texts have whole characters alone."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return {key: _clean(entry) for key, entry in value.items()} if isinstance(value, dict) else value
