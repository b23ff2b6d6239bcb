"""The chat page as HTTP has it: who gets it, and with which headers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from sterna.server.page import BUILT, FILES
from sterna.server.settings import Settings
from tests.server.conftest import Running, running
from tests.server.raw import connect, rest

KEY = "arctic-tern"
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TYPES = {"/": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with a key."""
    with running(settings=Settings(port=0, api_keys=(KEY,))) as served:
        yield served


def asked(path: str) -> dict[str, str]:
    """The Accept header with which a browser asks for a path."""
    return BROWSER if path == "/" else {"Accept": "*/*"}


def test_browsers_get_the_page_and_programs_what_ollama_says(served: Running) -> None:
    page = served.http.get("/", headers=BROWSER)
    assert page.text == (BUILT / "index.html").read_text() and "<title>Sterna</title>" in page.text
    for accept in ("*/*", "application/json", "", "text/plain, */*", "text/html-like"):
        reply = served.http.get("/", headers={"Accept": accept})
        assert reply.text == "Ollama is running" and reply.headers["vary"] == "Accept"
    assert served.http.post("/", headers=BROWSER).status_code == 405


@pytest.mark.parametrize("path", FILES)
def test_a_file_comes_with_its_type_and_what_protects_it(served: Running, path: str) -> None:
    reply = served.http.get(path, headers=asked(path))
    assert reply.status_code == 200 and reply.content == FILES[path].content
    assert reply.headers["content-type"].startswith(TYPES[path if path == "/" else path[path.rindex(".") :]])
    policy = dict(part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'" and policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'" and "unsafe" not in str(policy)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_the_browser_has_is_not_sent_again(served: Running, path: str) -> None:
    tag = served.http.get(path, headers=asked(path)).headers["etag"]
    assert re.fullmatch(r'"\w{32}"', tag)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = served.http.get(path, headers={**asked(path), "If-None-Match": known})
        assert again.status_code == 304 and not again.content and again.headers["etag"] == tag
    assert served.http.get(path, headers={**asked(path), "If-None-Match": '"other"'}).status_code == 200


def test_head_gives_the_headers_alone(served: Running) -> None:
    with connect(served) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
        head, _, body = rest(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"content-security-policy" in head and body == b""


def test_the_page_needs_no_key_and_what_it_asks_does(guarded: Running) -> None:
    for path in FILES:
        assert guarded.http.get(path, headers=asked(path)).status_code == 200
    assert guarded.http.get("/").status_code == 401
    for path in ("/v1/models", "/page", "/page/", "/page/other.js", "/page/../v1/models"):
        assert guarded.http.get(path, headers=BROWSER).status_code == 401
    assert guarded.http.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


@pytest.mark.parametrize("headers", [{"Host": "evil.example.com"}, {"Origin": "https://evil.example.com"}])
def test_other_sites_get_no_page(served: Running, headers: dict[str, str]) -> None:
    for path in FILES:
        assert served.http.get(path, headers={**asked(path), **headers}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/page/..%2f..%2fapp.py", "/page/index.html", "/index.html", "/page/%2e%2e/index.html"]
)
def test_nothing_else_is_a_file(served: Running, path: str) -> None:
    assert served.http.get(path, headers=BROWSER).status_code == 404


def test_the_address_of_the_page_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "localhost")):
        with running(settings=Settings(host=host, port=0)):
            told = capsys.readouterr().err
            found = re.search(rf"^Serving at http://{host}:\d+; chat in a browser at (http://{shown}:\d+)$", told, re.M)
            assert found is not None and httpx.get(found[1], headers=BROWSER).status_code == 200
