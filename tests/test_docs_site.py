"""The links of the pages, and the site that is built of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by the rule of GitHub."""
    found = tokens(page)
    headings = [found[i + 1] for i, token in enumerate(found) if token.type == "heading_open"]
    texts = ["".join(part.content for part in heading.children or []) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links and images."""
    for token in tokens(page):
        for part in token.children or []:
            target = part.attrGet("src" if part.type == "image" else "href")
            if target is not None:
                yield unquote(str(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning ends the build."""
    for name in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(name, reason="the tools of the site are not installed (pip install '.[docs]')")
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "sphinx", "-n", "-W", "--keep-going", "-q", str(ROOT / "docs"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return folder


def test_the_site_has_every_page_and_its_anchors(site: Path) -> None:
    """The pages are read on GitHub too, so both must make the same anchors of headings."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        ids = set(re.findall(r'id="([^"]+)"', (site / f"{page.stem}.html").read_text()))
        assert anchors(page) <= ids, page.name


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]+)"', page.read_text())
        loaded += re.findall(
            r'<link\b[^>]*?\brel="(?:stylesheet|preload|icon)"[^>]*?\bhref="([^"]+)"', page.read_text()
        )
        assert loaded, page.name
        assert [address for address in loaded if re.match(r"(?:\w+:)?//", address)] == [], page.name
    for style in site.rglob("*.css"):
        assert re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", style.read_text()) == [], style.name
