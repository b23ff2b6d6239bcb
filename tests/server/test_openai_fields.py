"""What OpenAI's API takes and gives beside texts: names of models, fields that mean absent, what is refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea."}]


def text(served: Running, **fields: Any) -> str:
    """The answer to a chat, drawn in one way unless fields say otherwise."""
    body = {"messages": MESSAGES, "max_tokens": 12, "seed": 1, **fields}
    answer = served.post("/v1/chat/completions", body).raise_for_status().json()
    return str(answer["choices"][0]["message"]["content"])


def test_the_models_are_listed(served: Running) -> None:
    (model,) = served.openai.models.list().data
    assert model.id == "sterna-tern" and model.object == "model" and model.created > 1_600_000_000
    assert served.openai.models.retrieve("sterna-tern") == model
    with pytest.raises(openai.NotFoundError) as caught:
        served.openai.models.retrieve("org/other")
    assert caught.value.code == "model_not_found" and "'org/other'" in caught.value.message


def test_null_empty_and_unknown_fields_count_as_absent(served: Running) -> None:
    blank = {"tools": [], "temperature": None, "stop": [], "logit_bias": None, "response_format": None, "user": "me"}
    assert text(served, **blank, model=None, stream_options=None, unheard_of={"a": 1}) == text(served)
    assert text(served, response_format={"type": "text"}, tool_choice="none", stop=[""]) == text(served)


def test_messages_come_in_every_form(served: Running) -> None:
    parts = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "of the sea."}]
    assert text(served, messages=[{"role": "user", "content": parts, "name": None}]) == text(served)
    brief = {"content": "Be brief."}
    assert text(served, messages=[{"role": "developer", **brief}, *MESSAGES]) == text(
        served, messages=[{"role": "system", **brief}, *MESSAGES]
    )


def test_numbers_that_other_servers_take_for_none(served: Running) -> None:
    assert text(served, top_k=-1) == text(served)
    assert text(served, max_tokens=-1, stop="the") == text(served, max_tokens=None, stop="the")
    assert text(served, seed=-7) == text(served, seed=2**64 - 7)
    assert text(served, seed=-1) and len({text(served, seed=-1, temperature=2) for _ in range(3)}) > 1


def test_sampling_beyond_openai(served: Running) -> None:
    prompt = served.llm.tokenizer.encode_chat(MESSAGES)
    fields: dict[str, Any] = {"top_k": 40, "min_p": 0.05, "repetition_penalty": 1.2, "lookup": 4, "min_tokens": 3}
    wanted = served.llm.generate(prompt, temperature=1, seed=1, max_tokens=12, **fields)
    assert text(served, **fields) == wanted != text(served)
    assert text(served, temperature=0, max_tokens=300, ignore_eos=True) == served.llm.generate(
        prompt, max_tokens=300, ignore_eos=True
    )


@pytest.mark.parametrize(
    ("path", "fields", "sentence"),
    [
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "A content is text"),
        ("chat/completions", {"messages": MESSAGES, "chat_template": "{{ 1 }}"}, "A template cannot be sent"),
        ("chat/completions", {"messages": MESSAGES, "top_logprobs": 21}, "top_logprobs is not valid"),
        ("chat/completions", {"messages": "Hi"}, "messages is not valid"),
        ("chat/completions", {"messages": MESSAGES, "logit_bias": {"99999": 1}}, "logit_bias has a token id outside"),
        ("completions", {"prompt": "a", "stop": ["b"] * 65}, "stop is not valid"),
        ("completions", {"prompt": ["a", 5]}, "prompt is not valid"),
        ("completions", {"prompt": "a", "suffix": "b"}, "This model cannot fill in the middle of a text"),
        ("completions", {"prompt": [1, 2], "suffix": "b"}, "A suffix goes with prompts that are text"),
        ("completions", {"prompt": "a", "max_tokens": 0}, "max_tokens is a whole number from 1"),
        ("responses", {"input": "a", "previous_response_id": "resp_1"}, "This server keeps no responses"),
        ("responses", {"input": [{"type": "item_reference", "id": "a"}]}, "An item of the type 'item_reference'"),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "A content is text"),
        ("responses", {"input": "a", "tools": [{"type": "web_search"}]}, "Tools are functions"),
        ("embeddings", {"input": "a", "encoding_format": "int"}, "encoding_format is not valid"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_is_an_error_before_any_stream(
    served: Running, path: str, fields: dict[str, Any], sentence: str, stream: bool
) -> None:
    response = served.post(f"/v1/{path}", {**fields, "stream": stream})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(sentence)


def test_a_suffix_is_filled_up_to_where_the_vocabulary_has_marks(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = served.llm.tokenizer
    for token, name in enumerate(("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"), 300):
        monkeypatch.setitem(tokenizer._special, name, token)
    answer = served.post("/v1/completions", {"prompt": "The", "suffix": "sea.", "temperature": 0}).json()
    prompt = tokenizer.encode_infill("The", "sea.")
    assert prompt[-1] == 302
    assert answer["choices"][0]["text"] == served.llm.generate(prompt, max_tokens=16)
    assert answer["usage"]["prompt_tokens"] == len(prompt)


def test_an_error_names_the_field(served: Running) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.openai.chat.completions.create(model="sterna-tern", messages=MESSAGES, temperature=-1)
    assert caught.value.param == "temperature" and caught.value.type == "invalid_request_error"


def test_half_a_surrogate_pair_is_no_obstacle(served: Running) -> None:
    body = b'{"prompt": "a\\ud800b", "max_tokens": 2, "echo": true, "seed": 1}'
    response = served.http.post("/v1/completions", content=body)
    assert response.status_code == 200 and response.json()["choices"][0]["text"].startswith("a?b")
