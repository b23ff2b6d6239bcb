"""LangChain's two ways to a server: by OpenAI's API and by Ollama's."""

from __future__ import annotations

from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field, SecretStr

from tests.server.conftest import Running

QUESTION = "Tell me of the sea."


class Ship(BaseModel):
    """A ship."""

    name: str = Field(max_length=8)
    masts: int = Field(ge=1, le=3)


def expected(served: Running, max_tokens: int = 20) -> str:
    prompt = served.llm.tokenizer.encode_chat([{"role": "user", "content": QUESTION}])
    return served.llm.complete([prompt], max_tokens=max_tokens, temperature=0.8, seed=5)[0].text


def openai(served: Running, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="sterna-tern", base_url=f"{served.url}/v1", api_key=SecretStr("none"), temperature=0.8, seed=5, **more
    )


def ollama(served: Running, **more: Any) -> ChatOllama:
    return ChatOllama(
        model="sterna-tern",
        base_url=served.url,
        temperature=0.8,
        seed=5,
        top_k=0,
        top_p=1.0,
        validate_model_on_init=True,
        **more,
    )


def test_chats_by_openais_api(served: Running) -> None:
    chat = openai(served, max_completion_tokens=20)
    answer = chat.invoke(QUESTION)
    assert answer.content == expected(served)
    assert answer.usage_metadata is not None and answer.usage_metadata["output_tokens"] == 20
    assert "".join(str(piece.content) for piece in chat.stream([HumanMessage(QUESTION)])) == expected(served)


def test_objects_by_openais_api(served: Running) -> None:
    chat = openai(served, max_completion_tokens=120)
    assert isinstance(chat.with_structured_output(Ship, method="json_schema").invoke("A ship"), Ship)
    assert isinstance(chat.with_structured_output(Ship, method="function_calling").invoke("A ship"), Ship)
    call = chat.bind_tools([Ship], tool_choice="Ship").invoke("A ship").tool_calls[0]
    assert call["name"] == "Ship" and Ship(**call["args"])


def test_vectors_by_openais_api(served: Running) -> None:
    embeddings = OpenAIEmbeddings(
        model="sterna-tern", base_url=f"{served.url}/v1", api_key=SecretStr("none"), check_embedding_ctx_length=False
    )
    np.testing.assert_allclose(embeddings.embed_documents(["a", "b"]), served.llm.embed(["a", "b"]), atol=1e-6)


def test_chats_by_ollamas_api(served: Running) -> None:
    chat = ollama(served, num_predict=20)
    answer = chat.invoke(QUESTION)
    assert answer.content == expected(served)
    assert answer.usage_metadata is not None and answer.usage_metadata["output_tokens"] == 20
    assert "".join(str(piece.content) for piece in chat.stream(QUESTION)) == expected(served)


def test_objects_by_ollamas_api(served: Running) -> None:
    chat = ollama(served, num_predict=120)
    assert isinstance(chat.with_structured_output(Ship, method="json_schema").invoke("A ship"), Ship)


def test_texts_and_vectors_by_ollamas_api(served: Running) -> None:
    text = OllamaLLM(model="sterna-tern", base_url=served.url, num_predict=10, temperature=0)
    assert text.invoke("Once") == served.llm.generate("Once", max_tokens=10)
    embeddings = OllamaEmbeddings(model="sterna-tern", base_url=served.url)
    np.testing.assert_allclose(embeddings.embed_query("a"), served.llm.embed(["a"])[0], atol=1e-6)
