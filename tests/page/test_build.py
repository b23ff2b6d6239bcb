"""The page's sources: lint, types, units, and the build that is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sterna.server.page import BUILT
from tests.page.node import run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_small() -> None:
    assert sum(map(len, contents(BUILT).values())) < 100_000


@pytest.mark.usefixtures("web")
def test_the_committed_build_is_that_of_the_sources(tmp_path: Path) -> None:
    """`npm run build` in web/ makes it anew."""
    run("npm", "run", "build", "--workspace", "page", "--", "--outDir", tmp_path / "built")
    assert contents(tmp_path / "built") == contents(BUILT)


@pytest.mark.usefixtures("web")
def test_the_sources_are_formatted_linted_and_typed() -> None:
    run("npm", "run", "check")


@pytest.mark.usefixtures("web")
def test_the_units_hold() -> None:
    run("npm", "test")
