"""Files that clients upload."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna.errors import ArgumentError
from sterna.jobs import Limits, jobs
from sterna.jobs import files as files_module
from sterna.jobs.upload import _Reader, shown_name
from sterna.server.errors import ApiError
from sterna.server.settings import Settings
from tests.jobs.conftest import upload, with_jobs
from tests.server.conftest import Running
from tests.server.raw import connect, read_until


def test_a_file_is_uploaded_shown_read_and_deleted(served: Running) -> None:
    content = os.urandom(300_000)
    made = served.openai.files.create(file=("my lines.jsonl", content), purpose="batch")
    assert (made.bytes, made.filename, made.purpose, made.object) == (300_000, "my lines.jsonl", "batch", "file")
    assert made.expires_at is not None and made.expires_at > made.created_at + 86400 * 29
    assert served.openai.files.retrieve(made.id) == made
    assert served.openai.files.content(made.id).content == content
    assert served.openai.files.delete(made.id).deleted
    for path in (f"/v1/files/{made.id}", f"/v1/files/{made.id}/content"):
        error = served.http.get(path)
        assert error.status_code == 404 and error.json()["error"]["code"] == "file_not_found"


def test_a_content_is_a_download_and_no_page(served: Running) -> None:
    made = upload(served, [b"<script>alert(1)</script>"], name='a".html')
    response = served.http.get(f"/v1/files/{made.id}/content")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["x-content-type-options"] == "nosniff"


def test_lists_have_pages(served: Running) -> None:
    made = [upload(served, [{"prompt": str(n)}]).id for n in range(5)]
    listed = [each.id for each in served.openai.files.list(purpose="batch", limit=2)]  # the client asks for all pages
    assert listed[:5] == made[::-1]
    first = served.http.get("/v1/files", params={"limit": 2, "order": "asc"}).json()
    assert first["has_more"] and first["last_id"] == first["data"][1]["id"]
    assert served.http.get("/v1/files", params={"purpose": "vision"}).json()["data"] == []
    for wrong in ({"after": "file-none"}, {"limit": 0}, {"order": "up"}):
        error = served.http.get("/v1/files", params=wrong)
        assert error.status_code == 400 and error.json()["error"]["type"] == "invalid_request_error"


def test_names_are_never_paths(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "..\\..\\x", "..", "a\x00b\n", "\U0001f6a2" * 300]
    with with_jobs(folder=tmp_path / "files") as served:
        for name in names:
            files = {"file": (name, b"{}")}
            shown = served.http.post("/v1/files", data={"purpose": "batch"}, files=files).json()["filename"]
            assert "/" not in shown and "\\" not in shown and shown.isprintable() and len(shown) <= 255
        ours = [path.name for path in (tmp_path / "files").glob("[!.]*")]
        assert len(ours) == 2 * len(names) and all(re.fullmatch(r"file-[0-9a-f]{32}(\.json)?", name) for name in ours)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.parametrize("id", ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "file-", "file-*", ".journal"])
def test_ids_are_never_paths(served: Running, id: str) -> None:
    for method, path in (("GET", id), ("DELETE", id), ("GET", f"{id}/content")):
        assert served.http.request(method, f"/v1/files/{path}").status_code in (404, 405)


def test_a_form_that_is_wrong_is_told_why(served: Running) -> None:
    file = {"file": ("a", b"{}")}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"files": file}, "The purpose of a file is batch, not None."),
        ({"files": file, "data": {"purpose": "fine-tune"}}, "not 'fine-tune'"),
        ({"files": {"other": ("a", b"{}")}, "data": {"purpose": "batch"}}, "no part file"),
        ({"json": {"file": "x"}}, "is sent as a form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "no valid form"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "breaks off"),
        ({"content": b"", "headers": {"content-type": f"multipart/form-data; boundary={'x' * 999}"}}, "boundary"),
        ({"content": b"--x\r\nA: " + b"a" * 100_000, "headers": {"content-type": "multipart/form-data; boundary=x"}},
         "no valid form"),
        ({"files": file, "data": {"purpose": "b" * 2000}}, "has more than 1024 bytes"),
        ({"files": file, "data": {f"x{n}": "" for n in range(20)}}, "too many parts"),
        ({"files": [("file", ("a", b"")), ("file", ("b", b""))]}, "one file"),
        ({"files": file, "data": {"purpose": "batch", "expires_after[seconds]": "soon"}}, "expires_after is a number"),
        ({"files": file, "data": {"purpose": "batch", "expires_after[seconds]": "9",
                                  "expires_after[anchor]": "now"}}, "The anchor is created_at"),
    ]  # fmt: skip
    before = len(served.http.get("/v1/files").json()["data"])
    for request, sentence in wrong:
        response = served.http.post("/v1/files", **request)
        error = response.json()["error"]
        assert response.status_code == 400 and sentence in error["message"], request
        assert error["type"] == "invalid_request_error" and error["message"].endswith(".")
    assert len(served.http.get("/v1/files").json()["data"]) == before


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.binary(max_size=200), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=10))
def test_a_form_may_be_cut_anywhere(content: bytes, cuts: list[int]) -> None:
    request = httpx.Request("POST", "http://x", data={"purpose": "batch"}, files={"file": ("ä b.jsonl", content)})
    body = request.read()
    reader, found, at = _Reader(request.headers["content-type"].partition("boundary=")[2].encode()), b"", 0
    while at < len(body):
        cut = cuts[at % len(cuts)]
        found, at = found + reader.feed(body[at : at + cut]), at + cut
    form = reader.end()
    assert (found, form.filename, form.fields) == (content, "ä b.jsonl", {"purpose": "batch"})


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    reader = _Reader(b"x")
    with pytest.raises(ApiError):
        reader.feed(body)
        reader.end()


@given(st.text())
def test_names_that_are_shown_have_no_folders(name: str) -> None:
    assert not set(shown_name(name)) & set("/\\\x00\n") and 0 < len(shown_name(name)) <= 255


def test_quotas_hold_and_leave_nothing(tmp_path: Path) -> None:
    with with_jobs(folder=tmp_path, file_bytes=500_000, all_bytes=1_000_000, files=3) as served:

        def refused(size: int, sentence: str, code: str) -> None:
            with pytest.raises(openai.APIStatusError, match=sentence) as raised:
                upload(served, [b"x" * size])
            assert raised.value.status_code == 413 and raised.value.code == code

        first = upload(served, [b"x" * 400_000]).id
        refused(600_000, "A file has at most 500", "too_large")
        upload(served, [b"x" * 400_000])
        refused(400_000, "All files together have at most 1.0 MB", "quota_exceeded")
        upload(served, [b"x"])
        refused(1, "at most 3 files", "quota_exceeded")
        served.openai.files.delete(first)
        upload(served, [b"x" * 400_000])
        assert len(list(tmp_path.glob("[!.]*"))) == 6


def test_a_large_upload_streams_to_the_disk_and_passes_the_limit_of_bodies(tmp_path: Path) -> None:
    settings = Settings(port=0, body_bytes=100_000)
    with with_jobs(settings=settings, folder=tmp_path) as served:
        assert upload(served, [b"x" * 3_000_000]).bytes == 3_000_001
        with connect(served) as client:
            head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
            client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
            client.sendall(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"y" * 500_000)
            served.eventually(lambda: any(path.stat().st_size > 400_000 for path in tmp_path.glob("file-*")
                                          if path.suffix == "" and path.stat().st_size < 3_000_000))  # fmt: skip
        served.eventually(lambda: len(list(tmp_path.glob("[!.]*"))) == 2)  # the client left: its half is gone


def test_a_refused_upload_is_answered_though_the_client_is_still_sending(tmp_path: Path) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"y" * 2_000_000
    head = f"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with with_jobs(folder=tmp_path, file_bytes=1000) as served, connect(served) as client:
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + body)
        assert read_until(client, b"too_large").startswith(b"HTTP/1.1 413")


def test_a_slow_upload_is_cut_off() -> None:
    with with_jobs(settings=Settings(port=0, slow_seconds=0.3)) as served, connect(served) as client:
        head = "POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
        client.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
        client.settimeout(20)
        assert read_until(client, b"in time").startswith(b"HTTP/1.1 408")


def test_keys_hold() -> None:
    with with_jobs(settings=Settings(port=0, api_keys=("secret",))) as served:
        for method, path in (("POST", "/v1/files"), ("GET", "/v1/files"), ("POST", "/v1/batches")):
            assert served.http.request(method, path).status_code == 401
        served.openai.api_key = "secret"
        assert upload(served, [b"x"]).bytes == 2


def test_a_file_that_has_expired_is_not_there(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made = upload(served, [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr(files_module, "time", SimpleNamespace(time=lambda: time.time() + 31 * 86400))
        assert served.http.get(f"/v1/files/{made.id}").status_code == 404
        assert served.http.get("/v1/files").json()["data"] == []
    assert served.http.get(f"/v1/files/{made.id}").status_code == 200  # until it is removed


def test_a_client_may_want_its_file_gone_sooner(served: Running) -> None:
    made = served.openai.files.create(
        file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600


def test_a_folder_outlives_its_server_and_has_one(tmp_path: Path) -> None:
    with with_jobs(folder=tmp_path) as served:
        made = upload(served, [b"kept"])
        with pytest.raises(ArgumentError, match="Another server uses the folder"):
            jobs(Limits(folder=tmp_path))
    (tmp_path / f"file-{'0' * 32}").write_bytes(b"half of an upload")
    (tmp_path / "file-notes.json").write_bytes(b"[]")
    (tmp_path / f"file-{'1' * 32}.json").write_bytes(json.dumps({"id": "file-x"}).encode())
    with with_jobs(folder=tmp_path) as served:
        assert served.openai.files.content(made.id).content == b"kept\n"
        assert [each.id for each in served.openai.files.list()] == [made.id]
        assert not (tmp_path / f"file-{'0' * 32}").exists() and (tmp_path / "file-notes.json").exists()


def test_a_temporary_folder_goes_with_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with with_jobs() as served:
        upload(served, [b"x"])
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o077 == 0 and len(list(folder.glob("[!.]*"))) == 2
    assert not list(tmp_path.iterdir())
