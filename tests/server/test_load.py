"""Many streams of mixed lengths at one time: each says what it says alone, nobody waits for long, memory stays flat."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from sterna.engine.backend import Choice
from sterna.engine.generation import Generation
from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.known import known_models
from sterna.server.models import Models
from tests.server.conftest import Running, running

QUESTIONS = 48
GROWTH = 16 << 20
"""Bytes by which the process may grow while it only repeats itself."""


@dataclass
class Question:
    """What is asked, and what the model answers alone."""

    body: dict[str, Any]
    text: str
    tokens: int


@dataclass
class Client:
    """What one client saw."""

    waited: float = 0.0
    """Seconds until replies began, in all."""
    replies: int = 0
    wrong: list[str] = field(default_factory=list)


def questions(served: Running) -> list[Question]:
    """Prompts of 1 to 300 tokens, texts of 1 to 200, drawn and greedy."""
    random_, llm, found = random.Random(7), served.llm, []
    for number in range(QUESTIONS):
        prompt = [random_.randrange(5, 400) for _ in range(random_.choice((1, 20, 100, 200, 300)))]
        drawn: dict[str, Any] = {
            "max_tokens": random_.choice((1, 10, 60, 120, 200)),
            "temperature": random_.choice((0.0, 0.8)),
            "seed": number,
            "ignore_eos": number % 3 > 0,
        }
        alone = llm.complete([prompt], **drawn)[0]
        body = {"prompt": prompt, **drawn, "stream": True, "stream_options": {"include_usage": True}}
        found.append(Question(body, alone.text, alone.completion_tokens))
    return found


def ask(served: Running, asked: list[Question], seed: int, end: float, client: Client) -> None:
    """Asks one question after the other; leaves one stream in ten."""
    random_, port = random.Random(seed), served.server.servers[0].sockets[0].getsockname()[1]
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    while time.monotonic() < end:
        question, begun = random_.choice(asked), time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps(question.body))
        response = connection.getresponse()
        if response.status != 200:
            client.wrong.append(f"status {response.status}")
            break
        text, tokens, leaves = "", None, random_.random() < 0.1
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                client.wrong.append(event["error"]["message"])
                break
            if not text:
                client.waited += time.monotonic() - begun
                client.replies += 1
                if leaves:
                    break
            text += "".join(choice["text"] for choice in event["choices"])
            tokens = event["usage"]["completion_tokens"] if event.get("usage") else tokens
        if leaves:
            connection.close()
        elif (text, tokens) != (question.text, question.tokens):
            client.wrong.append(f"{text!r} of {tokens} tokens in place of {question.text!r} of {question.tokens}")
    connection.close()


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def load(served: Running, number: int, seconds: float) -> None:
    asked, clients, free = questions(served), [Client() for _ in range(number)], served.free_blocks()
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=ask, args=(served, asked, seed, end, client), daemon=True)
        for seed, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    half_way = memory()
    for thread in threads:
        thread.join()
    grown = memory() - half_way
    assert not any(client.wrong for client in clients), [client.wrong[:1] for client in clients]
    waits = [client.waited / client.replies for client in clients]
    assert max(waits) <= 3 * mean(waits), waits
    assert grown < GROWTH
    served.eventually(lambda: served.free_blocks() == free)


def test_sixteen_streams(served: Running) -> None:
    load(served, 16, 30)


@pytest.mark.slow
def test_sixty_four_streams(served: Running) -> None:
    load(served, 64, 600)


def test_a_burst_larger_than_the_cache_is_served_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts without a limit, for which the cache has not a tenth of the room: some are preempted, all come out as they
    do alone, and none waits for much longer than the others. Waits are counted in passes of the engine."""
    models = Models(known_models([EMBEDDED_NAME]), EngineOptions(threads=1, pool_tokens=1024))
    with running(models) as served, ThreadPoolExecutor(24) as pool:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        bodies = [
            {"prompt": [5 + number] * (40 + number), "max_tokens": -1, "ignore_eos": True, "seed": number}
            for number in range(24)
        ]
        alone = [served.post("/v1/completions", body).json()["choices"][0]["text"] for body in bodies[:6]]
        scheduler, asked, waits, append = (
            served.llm._loop.scheduler,
            served.llm.statistics.passes,
            [],
            Generation.append,
        )

        def appending(generation: Generation, choice: Choice) -> None:
            if len(generation.token_ids) == generation.prompt_tokens:
                waits.append(scheduler.passes - asked)
            append(generation, choice)

        monkeypatch.setattr(Generation, "append", appending)
        replies = list(pool.map(lambda body: served.post("/v1/completions", body), bodies))
        assert [reply.json()["choices"][0]["text"] for reply in replies[:6]] == alone
        assert all(reply.json()["usage"]["total_tokens"] == served.llm.context_length for reply in replies)
        assert len(waits) == len(bodies) and max(waits) <= 3 * mean(waits)
        assert served.llm.statistics.preemptions > 0
