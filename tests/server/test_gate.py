"""Who may ask: Host, Origin, keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sterna.errors import ArgumentError, NotFoundError
from sterna.server.gate import read_keys
from sterna.server.settings import Settings
from tests.server.conftest import Running, running
from tests.server.raw import connect, rest

KEYS = ("correct horse", "battery-staple", "schlüssel")
SITE = "https://chat.example.com"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Running]:
    """A server with keys and an allowed site."""
    with running(settings=Settings(port=0, api_keys=KEYS, allow_origins=(SITE,))) as served:
        yield served


def port(served: Running) -> str:
    return served.url.rpartition(":")[2]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "[::1]", "a.localhost", "10.1.2.3"])
def test_hosts_that_are_this_machine_are_served(served: Running, host: str) -> None:
    for name in (host, f"{host}:{port(served)}"):
        assert served.http.get("/v1/models", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.com", "evil.example.com:8080", "localhost.evil.com", "127.0.0.1.nip.io", ""]
)
def test_names_of_web_sites_are_refused(served: Running, host: str) -> None:
    """As a browser sends them after a site has pointed its name at 127.0.0.1."""
    response = served.http.get("/v1/models", headers={"Host": host})
    assert response.status_code == 403 and response.json()["error"]["type"] == "permission_error"


def test_a_server_for_other_machines_takes_any_name() -> None:
    with running(settings=Settings(host="0.0.0.0", port=0)) as served:
        url = f"http://127.0.0.1:{port(served)}/health"
        assert httpx.get(url, headers={"Host": "models.example.com"}).status_code == 200


def test_the_servers_own_pages_are_served(served: Running) -> None:
    headers = {"Host": f"localhost:{port(served)}", "Origin": f"http://localhost:{port(served)}"}
    response = served.http.get("/v1/models", headers=headers)
    assert response.status_code == 200 and "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "http://localhost:1", "http://localhost", "null", "http://127.0.0.1"]
)
def test_pages_of_other_origins_are_refused(served: Running, origin: str) -> None:
    headers = {"Host": f"localhost:{port(served)}", "Origin": origin}
    for method in ("GET", "POST", "OPTIONS"):
        assert served.http.request(method, "/v1/models", headers=headers).status_code == 403


def test_a_page_is_refused_before_its_body_is_read(served: Running) -> None:
    """The body never comes, and the answer does."""
    with connect(served) as client:
        client.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.com\r\nContent-Length: 9\r\n\r\n"
        )
        assert rest(client).startswith(b"HTTP/1.1 403")


def test_an_allowed_site_may_read_replies_and_ask_first(guarded: Running) -> None:
    asked = guarded.http.options(
        "/v1/chat/completions",
        headers={
            "Origin": SITE,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-os",
        },
    )
    assert asked.status_code == 204 and asked.headers["access-control-allow-origin"] == SITE
    assert "x-stainless-os" in asked.headers["access-control-allow-headers"]
    refused = guarded.http.get("/v1/models", headers={"Origin": SITE})  # a browser tells its page why
    assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == SITE
    assert guarded.http.get("/v1/models", headers={"Origin": "https://other.com"}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/ready", "/metrics", "/v1/models", "/openapi.json", "/nowhere", "/health/../metrics"]
)
def test_every_address_but_health_needs_a_key(guarded: Running, path: str) -> None:
    response = guarded.http.get(path)
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert guarded.http.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer correct horse"}, 200),
        ({"Authorization": "bearer battery-staple"}, 200),
        ({"x-api-key": "battery-staple"}, 200),
        ({"Authorization": "Bearer correct hors"}, 401),
        ({"Authorization": "Basic correct horse"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "bättery-staple".encode()}, 401),
        ({"x-api-key": "schlüssel".encode()}, 200),
    ],
)
def test_keys_are_compared(guarded: Running, headers: dict[str, Any], status: int) -> None:
    assert guarded.http.get("/v1/models", headers=headers).status_code == status


def test_an_errors_body_is_that_of_its_dialect(guarded: Running) -> None:
    error = guarded.http.get("/v1/models").json()["error"]
    assert error["type"] == "authentication_error" and error["code"] == "invalid_api_key"


def test_keys_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("# mine\n  one \n\ntwo\n")
    assert read_keys(file) == ("one", "two")
    monkeypatch.setenv("STERNA_API_KEY", "three")
    assert read_keys(file) == ("three", "one", "two")
    assert read_keys(None) == ("three",)
    file.write_text("# none\n")
    with pytest.raises(ArgumentError, match="no keys"):
        read_keys(file)
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_keys(tmp_path / "nothing")


def test_a_gate_without_keys_lets_all_in(served: Running) -> None:
    assert served.http.get("/metrics", headers={"Authorization": "Bearer anything"}).status_code == 200
