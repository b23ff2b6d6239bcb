"""The browser's engine in headless Chromium: `web/engine/browser` has the test, and this the server."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.page.node import run
from tests.server.conftest import running


@pytest.mark.usefixtures("web")
def test_the_demo_runs_the_model_in_a_browser() -> None:
    path = shutil.which("chromium")  # the shell without windows has no WebGPU
    if path is None:
        pytest.skip("Chromium is not installed")
    with running() as served:
        environment = {"CHROMIUM": path, "STERNA_SERVER": served.url}
        run("npm", "run", "test:browser", "--workspace", "engine", env={**os.environ, **environment})
