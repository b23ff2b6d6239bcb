"""Log-probabilities of OpenAI's API are the log-softmax of `LLM.logits`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.evaluate.perplexity import evaluate_text
from tests.server.conftest import Running

MESSAGES: Any = [{"role": "user", "content": "Tell me of the sea."}]
DRAWN: dict[str, Any] = {"temperature": 1.2, "seed": 3, "presence_penalty": 0.5, "max_tokens": 24}


def log_softmax(llm: LLM, ids: Sequence[int]) -> np.ndarray:
    logits = llm.logits(ids).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_of_a_chat(served: Running) -> None:
    prompt = served.llm.tokenizer.encode_chat(MESSAGES)
    made = served.llm.complete([prompt], **DRAWN)[0].token_ids
    expected = log_softmax(served.llm, [*prompt, *made])[len(prompt) - 1 :]
    body = {"messages": MESSAGES, "logprobs": True, "top_logprobs": 3, **DRAWN}
    content = served.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in content) == b"".join(map(served.llm.tokenizer.token_bytes, made))
    assert [entry["logprob"] for entry in content] == pytest.approx(
        [row[token] for row, token in zip(expected, made, strict=False)], abs=1e-5
    )
    for entry, row in zip(content, expected, strict=False):
        top = [each["logprob"] for each in entry["top_logprobs"]]
        assert top == pytest.approx(sorted(row, reverse=True)[:3], abs=1e-5)
    chunks = served.events("/v1/chat/completions", {**body, "stream": True})
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [entry for each in streamed if each for entry in each["content"]] == content


def test_of_a_completion_with_echo(served: Running) -> None:
    prompt = served.llm.tokenize("It was a dark and stormy night")
    made = served.llm.complete([prompt], **DRAWN)[0].token_ids
    rows = log_softmax(served.llm, [*prompt, *made])
    body = {"prompt": prompt, "echo": True, "logprobs": 2, **DRAWN}
    choice = served.post("/v1/completions", body).json()["choices"][0]
    logprobs = choice["logprobs"]
    assert choice["text"] == served.llm.generate(prompt, echo=True, **DRAWN)
    assert logprobs["token_logprobs"][0] is None and logprobs["top_logprobs"][0] is None
    wanted = [rows[at, token] for at, token in enumerate([*prompt, *made][1:])]
    assert logprobs["token_logprobs"][1:] == pytest.approx(wanted, abs=1e-5)
    offsets = logprobs["text_offset"]
    special = "<|endoftext|>"  # which the text does not show
    assert logprobs["tokens"][0] == special and offsets[:2] == [0, 0]
    for token, start, end in zip(logprobs["tokens"][1:], offsets[1:], [*offsets[2:], None], strict=True):
        assert choice["text"][start:end] == token
    chunks = [chunk["choices"][0] for chunk in served.events("/v1/completions", {**body, "stream": True})]
    assert "".join(chunk["text"] for chunk in chunks) == choice["text"]
    for name, values in logprobs.items():
        assert [value for chunk in chunks if chunk["logprobs"] for value in chunk["logprobs"][name]] == values


def test_the_sum_of_an_echo_is_that_of_an_evaluation(served: Running) -> None:
    """What lm-eval's local-completions sends for its tasks of log-likelihoods."""
    texts = ["The ship sailed at dawn.", "Once upon a time there was a king"]
    prompts = [served.llm.tokenize(text) for text in texts]
    body = {"model": "sterna-tern", "prompt": prompts, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    answer = served.post("/v1/completions", {**body, "seed": 1234}).json()
    for text, prompt, choice in zip(texts, prompts, answer["choices"], strict=True):
        score, logprobs = evaluate_text(served.llm, text), choice["logprobs"]
        assert sum(logprobs["token_logprobs"][1:-1]) == pytest.approx(-score.nll_per_token * score.tokens, abs=1e-4)
        assert len(logprobs["token_logprobs"]) == len(prompt) + 1
        best = [max(top.values()) for top in logprobs["top_logprobs"][1:]]
        assert all(len(top) == 1 for top in logprobs["top_logprobs"][1:])
        assert all(own <= most for own, most in zip(logprobs["token_logprobs"][1:], best, strict=True))


def test_of_a_response(served: Running) -> None:
    answer = served.openai.responses.create(
        model="sterna-tern",
        input=MESSAGES,
        max_output_tokens=4,
        temperature=0,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
    )
    content: Any = answer.output[0]
    chat = served.post(
        "/v1/chat/completions",
        {"messages": MESSAGES, "max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 2},
    ).json()["choices"][0]["logprobs"]["content"]
    assert [entry.logprob for entry in content.content[0].logprobs] == [entry["logprob"] for entry in chat]


def test_a_bias_forces_and_forbids(served: Running) -> None:
    (token,) = served.llm.tokenizer.encode(" ship", add_special=False)
    body = {"prompt": "The", "max_tokens": 3, "temperature": 1, "seed": 1}
    forced = served.post("/v1/completions", {**body, "logit_bias": {str(token): 100}}).json()
    assert forced["choices"][0]["text"] == " ship ship ship"
    best = served.llm.complete(["The"], max_tokens=1)[0].token_ids[0]
    body |= {"temperature": 0, "max_tokens": 1}
    other = served.post("/v1/completions", {**body, "logit_bias": {str(best): -100}}).json()
    assert other["choices"][0]["text"] != served.llm.tokenizer.decode([best], continuation=True)
