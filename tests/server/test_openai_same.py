"""The text and the counts of `llm.generate`, through every endpoint of OpenAI's API, by OpenAI's own client."""

from __future__ import annotations

from typing import Any

from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea."}]
DRAWN: dict[str, Any] = {"temperature": 0.8, "seed": 5, "max_tokens": 40}


def test_chat_says_what_the_model_says(served: Running) -> None:
    expected = served.llm.complete([served.llm.tokenizer.encode_chat(MESSAGES)], **DRAWN)[0]
    answer = served.openai.chat.completions.create(model="sterna-tern", messages=MESSAGES, **DRAWN)
    assert answer.choices[0].message.content == expected.text
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (expected.prompt_tokens, 40)


def test_chat_streams_the_same(served: Running) -> None:
    expected = served.llm.complete([served.llm.tokenizer.encode_chat(MESSAGES)], **DRAWN)[0]
    chunks = list(
        served.openai.chat.completions.create(
            model="sterna-tern", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **DRAWN
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == expected.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "length"
    usage = chunks[-1].usage
    assert usage is not None and usage.completion_tokens == 40 and usage.prompt_tokens == expected.prompt_tokens


def test_completions_say_what_the_model_says(served: Running) -> None:
    expected = served.llm.generate("Once", **DRAWN)
    answer = served.openai.completions.create(model="sterna-tern", prompt="Once", **DRAWN)
    assert answer.choices[0].text == expected
    pieces = served.openai.completions.create(model="sterna-tern", prompt="Once", stream=True, **DRAWN)
    assert "".join(piece.choices[0].text for piece in pieces) == expected
