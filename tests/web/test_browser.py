"""The browser's engine in headless Chromium: `web/engine/browser` has the test, and this the server."""

from __future__ import annotations

import os

import pytest

from tests.page.node import chromium, run
from tests.server.conftest import running


@pytest.mark.usefixtures("web")
def test_the_demo_runs_the_model_in_a_browser() -> None:
    with running() as served:
        environment = {"CHROMIUM": chromium(), "STERNA_SERVER": served.url}
        run("npm", "run", "test:browser", "--workspace", "engine", env={**os.environ, **environment})
