"""The demo's build that is committed. Lint, types and units of the engine run with those of the page (tests/page)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.server.page import WEB
from tests.page.node import run
from tests.page.test_build import contents


def test_the_demo_is_small() -> None:
    assert sum(map(len, contents(WEB).values())) < 250_000


@pytest.mark.usefixtures("web")
def test_the_committed_demo_is_that_of_the_sources(tmp_path: Path) -> None:
    """`npm run build` in web/ makes it anew."""
    run("npm", "run", "build:demo", "--workspace", "engine", "--", "--outDir", tmp_path / "built")
    assert contents(tmp_path / "built") == contents(WEB)
