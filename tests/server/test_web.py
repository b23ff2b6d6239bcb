"""The browser's engine at `/web`: its page, and the embedded model in parts."""

from __future__ import annotations

import pytest

from sterna.files.embedded import EMBEDDED_MODEL
from sterna.server.page import WEB, WEB_FILES, PageFile
from tests.server.conftest import Running

MODEL = f"/web/{EMBEDDED_MODEL.name}"
PAGES = [path for path, file in WEB_FILES.items() if isinstance(file, PageFile)]


def test_the_page_is_there_with_and_without_a_slash(served: Running) -> None:
    page = (WEB / "index.html").read_bytes()
    assert b'"./demo.js"' in page
    assert served.http.get("/web/").content == page
    moved = served.http.get("/web", follow_redirects=False)
    assert moved.status_code == 307 and moved.headers["location"] == "web/"


@pytest.mark.parametrize("path", PAGES)
def test_a_file_runs_no_foreign_script_and_may_load_models(served: Running, path: str) -> None:
    reply = served.http.get(path)
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["connect-src"] == "'self' https:"
    again = served.http.get(path, headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304


def test_the_model_comes_in_the_parts_that_are_asked_for(served: Running) -> None:
    reply = served.http.get(MODEL, headers={"Range": "bytes=4-99"})
    whole = EMBEDDED_MODEL.read_bytes()
    assert reply.status_code == 206 and reply.content == whole[4:100]
    assert reply.headers["content-range"] == f"bytes 4-99/{len(whole)}" and reply.headers["etag"]


def test_nothing_else_is_served_below_it(served: Running) -> None:
    for path in ("/web/../app.py", "/web/%2e%2e/app.py", "/web/other.gguf", "/web/index.html"):
        assert served.http.get(path).status_code == 404
    assert served.http.post("/web").status_code in (404, 405)
