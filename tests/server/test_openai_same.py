"""The text and the counts of `LLM`, through every endpoint of OpenAI's API, streamed or not, by OpenAI's own client."""

from __future__ import annotations

from typing import Any

import pytest

from sterna.engine.generation import Completion
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of the sea."}]
DRAWN: dict[str, Any] = {"temperature": 0.8, "seed": 5}
KNOWN: dict[str, Any] = {"model": "sterna-tern", **DRAWN}


def expected(served: Running, prompt: Any = None, max_tokens: int = 40, **more: Any) -> Completion:
    """What the model itself says; to the messages, where there is no prompt."""
    prompt = served.llm.tokenizer.encode_chat(MESSAGES) if prompt is None else prompt
    return served.llm.complete([prompt], max_tokens=max_tokens, **DRAWN, **more)[0]


def counts(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


def counts_of(completion: Completion) -> tuple[int, int, int]:
    prompt, text = completion.prompt_tokens, completion.completion_tokens
    return prompt, text, prompt + text


def test_chat(served: Running) -> None:
    wanted = expected(served)
    answer = served.openai.chat.completions.create(messages=MESSAGES, max_completion_tokens=40, **KNOWN)
    (choice,) = answer.choices
    assert choice.message.content == wanted.text and choice.message.role == "assistant"
    assert choice.finish_reason == "length" and choice.message.tool_calls is None
    assert counts(answer.usage) == counts_of(wanted)
    assert answer.model == "sterna-tern" and answer.object == "chat.completion"


def test_a_chat_that_streams(served: Running) -> None:
    wanted = expected(served)
    stream = served.openai.chat.completions.create(
        messages=MESSAGES, max_tokens=40, stream=True, stream_options={"include_usage": True}, **KNOWN
    )
    first, *chunks, last = stream
    assert first.choices[0].delta.role == "assistant" and first.choices[0].delta.content == ""
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == wanted.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert len({chunk.id for chunk in (first, *chunks, last)}) == 1
    assert last.choices == [] and counts(last.usage) == counts_of(wanted)


def test_the_helper_of_the_client_puts_a_stream_together(served: Running) -> None:
    with served.openai.chat.completions.stream(messages=MESSAGES, max_tokens=40, stop=["not"], **KNOWN) as stream:
        stream.until_done()
        wanted = expected(served, stop="not")
        assert wanted.stop_reason == "stop"
        assert stream.get_final_completion().choices[0].message.content == wanted.text


def test_completions(served: Running) -> None:
    wanted = expected(served, "Once")
    answer = served.openai.completions.create(prompt="Once", max_tokens=40, **KNOWN)
    assert answer.choices[0].text == wanted.text and answer.choices[0].finish_reason == "length"
    assert counts(answer.usage) == counts_of(wanted)
    ids = served.openai.completions.create(prompt=served.llm.tokenize("Once"), max_tokens=40, **KNOWN)
    assert ids.choices[0].text == wanted.text


def test_completions_that_stream(served: Running) -> None:
    wanted = expected(served, "Once")
    *chunks, last = served.openai.completions.create(
        prompt="Once", max_tokens=40, stream=True, stream_options={"include_usage": True}, **KNOWN
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == wanted.text
    assert chunks[-1].choices[0].finish_reason == "length"
    assert last.choices == [] and counts(last.usage) == counts_of(wanted)


def test_without_a_limit_of_tokens_an_answer_ends_with_the_context(served: Running) -> None:
    body = {"messages": MESSAGES, **DRAWN, "ignore_eos": True}
    answer = served.post("/v1/chat/completions", body).json()
    assert answer["usage"]["total_tokens"] == served.llm.context_length
    assert served.post("/v1/chat/completions", {**body, "max_tokens": 10**9}).json()["choices"] == answer["choices"]
    completion = served.post("/v1/completions", {"prompt": "Once", "ignore_eos": True}).json()
    assert completion["usage"]["completion_tokens"] == 16  # OpenAI's default


def test_responses(served: Running) -> None:
    wanted = expected(served)
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": MESSAGES[1]["content"]}]}]
    known: dict[str, Any] = {"model": "sterna-tern", "temperature": 0.8, "extra_body": {"seed": 5}}
    answer = served.openai.responses.create(
        input=items, instructions=MESSAGES[0]["content"], max_output_tokens=40, **known
    )
    assert answer.output_text == wanted.text
    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    usage = answer.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == counts_of(wanted)


def test_responses_that_stream(served: Running) -> None:
    wanted = served.llm.complete([served.llm.tokenizer.encode_chat(MESSAGES[1:])], max_tokens=40, stop="not", **DRAWN)[
        0
    ]
    assert wanted.stop_reason == "stop"
    events = list(
        served.openai.responses.create(
            model="sterna-tern",
            input=MESSAGES[1]["content"],
            temperature=0.8,
            extra_body={"seed": 5, "stop": "not"},
            stream=True,
        )
    )
    kinds = [event.type for event in events]
    deltas = kinds.count("response.output_text.delta")
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(getattr(event, "delta", "") for event in events) == wanted.text
    final: Any = events[-1]
    assert final.response.output_text == wanted.text and final.response.status == "completed"
    assert final.response.usage.output_tokens == wanted.completion_tokens


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_choices_are_drawn_with_the_seeds_that_follow(served: Running, path: str) -> None:
    body: dict[str, Any] = {"n": 3, "max_tokens": 20, **DRAWN}
    body |= {"messages": MESSAGES} if "chat" in path else {"prompt": ["Once", "Twice"]}
    prompts: list[Any] = [served.llm.tokenizer.encode_chat(MESSAGES)] if "chat" in path else ["Once", "Twice"]
    wanted = [
        served.llm.generate(prompt, temperature=0.8, seed=seed, max_tokens=20)
        for prompt in prompts
        for seed in (5, 6, 7)
    ]
    answer = served.post(path, body).json()
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(wanted)))
    assert [choice.get("text") or choice["message"]["content"] for choice in answer["choices"]] == wanted
    assert answer["usage"]["completion_tokens"] == 20 * len(wanted)
    texts = [""] * len(wanted)
    for event in served.events(path, {**body, "stream": True}):
        for choice in event["choices"]:
            texts[choice["index"]] += choice.get("text") or choice.get("delta", {}).get("content", "")
    assert texts == wanted


def test_many_choices_compute_a_long_prompt_once(served: Running) -> None:
    prompt = list(range(100, 500))
    computed = []
    loop = served.llm._loop
    forward = loop.backend.forward

    def counted(spans: Any) -> Any:
        computed.append(sum(len(span.token_ids) for span in spans))
        return forward(spans)

    loop.backend.forward = counted  # type: ignore[method-assign]
    try:
        answer = served.post("/v1/completions", {"prompt": prompt, "n": 4, "max_tokens": 2, "seed": 1}).json()
    finally:
        loop.backend.forward = forward  # type: ignore[method-assign]
    assert answer["usage"]["prompt_tokens"] == 400 and len(answer["choices"]) == 4
    # The last block of 64 is computed by each; a second token adds a row for each.
    assert sum(computed) <= 400 + 3 * 64 + 4
    again = served.post("/v1/completions", {"prompt": prompt, "max_tokens": 1}).json()
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 384
