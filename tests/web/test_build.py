"""The demo's build that is committed. Lint, types and units of the engine run with those of the page (tests/page)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sterna.server.page import WEB
from tests.page.node import WEB as SOURCES
from tests.page.node import run
from tests.page.test_build import contents


def test_the_demo_is_small() -> None:
    assert sum(map(len, contents(WEB).values())) < 250_000


@pytest.mark.usefixtures("web")
def test_the_committed_demo_is_that_of_the_sources(tmp_path: Path) -> None:
    """`npm run build` in web/ makes it anew."""
    run("npm", "run", "build:demo", "--workspace", "engine", "--", "--outDir", tmp_path / "built")
    assert contents(tmp_path / "built") == contents(WEB)


def test_the_notice_names_what_the_demo_bundles() -> None:
    notice = (SOURCES.parent / "NOTICE").read_text()
    for name, version in json.loads((SOURCES / "engine/package.json").read_text())["dependencies"].items():
        assert f"{name} {version} " in notice


@pytest.mark.usefixtures("web")
def test_the_npm_package_holds_license_and_notice() -> None:
    packed = json.loads(run("npm", "pack", "--dry-run", "--json", "--silent", "--workspace", "engine"))
    [package] = packed.values() if isinstance(packed, dict) else packed
    assert {"LICENSE", "NOTICE"} <= {file["path"] for file in package["files"]}


@pytest.mark.slow
@pytest.mark.usefixtures("web")
def test_texts_are_the_cpus_to_their_ends() -> None:
    slow = {**os.environ, "STERNA_SLOW": "1"}
    run("npm", "test", "--workspace", "engine", "--", "test/engine.test.ts", "-t", "up to near-ties", env=slow)
