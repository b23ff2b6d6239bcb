"""The page in headless Chromium: `web/page/browser` has the tests, and these here the servers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.server.known import known_models
from sterna.server.models import Models
from sterna.server.settings import Settings
from tests.page.node import chromium, run
from tests.server.chatty_model import write_chatty_model
from tests.server.conftest import Running, running
from tests.server.slow import slow

KEY = "arctic tern"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses of a server that takes everybody, of one with passes that take long, and of one with a key."""
    path = tmp_path_factory.mktemp("models") / "chatty.gguf"
    write_chatty_model(path)

    def models() -> Models:
        return Models(known_models([str(path)]), EngineOptions(threads=1), cached=known_models([EMBEDDED_NAME]))

    def loaded(served: Running) -> Running:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        return served

    with ExitStack() as stack:
        takes_all = loaded(stack.enter_context(running(models())))
        takes_time = loaded(stack.enter_context(running(models())))
        stack.enter_context(slow(takes_time))
        guarded = stack.enter_context(running(models(), Settings(port=0, api_keys=(KEY,))))
        yield {"open": takes_all.url, "slow": takes_time.url, "guarded": guarded.url, "key": KEY}


@pytest.mark.usefixtures("web")
def test_the_page_works_in_a_browser(servers: dict[str, str]) -> None:
    environment = {"CHROMIUM": chromium(), "STERNA_SERVERS": json.dumps(servers)}
    run("npm", "run", "test:browser", "--workspace", "page", env={**os.environ, **environment})
