"""Asks a server by litellm, llm and pydantic-ai. It runs where these are installed, without Sterna. Arguments: the
server's address, and what the model itself says, as JSON. An assertion that fails ends it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

MODEL = "sterna-tern"
URL = sys.argv[1]
EXPECTED: dict[str, Any] = json.loads(sys.argv[2])
MESSAGES, TEXT = EXPECTED["messages"], EXPECTED["text"]
DRAWN: dict[str, Any] = {name: EXPECTED[name] for name in ("max_tokens", "temperature", "seed")}


def litellm() -> None:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network
    import litellm

    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("openai", f"{URL}/v1", DRAWN),
        ("ollama_chat", URL, {**DRAWN, "top_k": 0, "top_p": 1.0}),
        ("anthropic", URL, {**DRAWN, "allowed_openai_params": ["seed"]}),
    ]
    for provider, base, drawn in ways:
        asked = {"model": f"{provider}/{MODEL}", "messages": MESSAGES, "api_base": base, "api_key": "none"}
        reply: Any = litellm.completion(**asked, **drawn)
        assert reply.choices[0].message.content == TEXT, (provider, reply)
        assert reply.usage.completion_tokens == EXPECTED["completion_tokens"], (provider, reply.usage)
        pieces: Any = litellm.completion(**asked, **drawn, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == TEXT, provider
    unlimited: Any = litellm.completion(
        model=f"anthropic/{MODEL}", messages=MESSAGES, api_base=URL, api_key="none", stream=True, timeout=60
    )  # asks for 128,000 tokens where nothing else is said
    assert "".join(piece.choices[0].delta.content or "" for piece in unlimited)


def llm() -> None:
    models = f"- model_id: tern\n  model_name: {MODEL}\n  api_base: {URL}/v1\n"
    Path(os.environ["LLM_USER_PATH"], "extra-openai-models.yaml").write_text(models)
    import llm

    model = llm.get_model("tern")
    model.key = "none"
    for stream in (True, False):
        reply = model.prompt(MESSAGES[0]["content"], stream=stream, **DRAWN)
        assert reply.text() == TEXT, reply.text()
        usage = reply.usage()
        assert (usage.input, usage.output) == (EXPECTED["prompt_tokens"], EXPECTED["completion_tokens"]), usage


def pydantic_ai() -> None:
    from anthropic import AsyncAnthropic
    from pydantic import BaseModel
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    class Ship(BaseModel):
        city: Literal["Kiel", "Riga"]
        masts: Literal[1, 2, 3]

    by_openai = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key="none"))
    client = AsyncAnthropic(base_url=URL, api_key="none", max_retries=0)
    by_anthropic = AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client))
    settings: Any = {**DRAWN}
    assert Agent(by_openai).run_sync(MESSAGES[0]["content"], model_settings=settings).output == TEXT
    for output in (Ship, NativeOutput(Ship)):
        answer = Agent(by_openai, output_type=output).run_sync("A ship", model_settings={"parallel_tool_calls": False})
        assert isinstance(answer.output, Ship), answer
    settings = {"max_tokens": 200, "parallel_tool_calls": False}
    answer = Agent(by_anthropic, output_type=Ship).run_sync("A ship", model_settings=settings)
    assert isinstance(answer.output, Ship), answer


if __name__ == "__main__":
    for client in (litellm, llm, pydantic_ai):
        client()
        print(f"{client.__name__}: as the model itself", flush=True)
