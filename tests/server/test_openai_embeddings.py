"""Embeddings by OpenAI's client: texts, token ids, floats and base64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.server.conftest import Running


@pytest.mark.parametrize("given", ["A ship", ["A ship", "The sea"], [5, 6, 7], [[5, 6, 7], [8, 9]]])
def test_vectors_are_those_of_the_model(served: Running, given: Any) -> None:
    texts = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    wanted = served.llm.embed(texts)
    answer = served.openai.embeddings.create(model="sterna-tern", input=given)  # asks for base64
    assert np.array_equal(np.array([each.embedding for each in answer.data], np.float32), wanted)
    assert [each.index for each in answer.data] == list(range(len(texts)))
    floats = served.post("/v1/embeddings", {"input": given, "encoding_format": "float"}).json()
    assert np.array_equal(np.array([each["embedding"] for each in floats["data"]], np.float32), wanted)
    tokens = sum(len(served.llm.tokenize(text)) if isinstance(text, str) else len(text) for text in texts)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens


def test_fewer_dimensions_have_length_one_again(served: Running) -> None:
    short = np.array(served.openai.embeddings.create(model="sterna-tern", input="A", dimensions=8).data[0].embedding)
    whole = served.llm.embed(["A"])[0, :8]
    assert short == pytest.approx(whole / np.linalg.norm(whole), abs=1e-6)


def test_a_text_beyond_the_context_is_an_error(served: Running) -> None:
    response = served.post("/v1/embeddings", {"input": ["word " * 2000]})
    assert response.status_code == 400 and response.json()["error"]["code"] == "context_length_exceeded"
