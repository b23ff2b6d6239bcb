"""Numbers for Prometheus, the log, units, sockets."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from sterna.engine.options import EngineOptions
from sterna.errors import OptionError, UnsupportedError
from sterna.server.journal import JsonLines
from sterna.server.metrics import CONTENT_TYPE
from sterna.server.run import run
from sterna.server.served import Policy
from sterna.server.settings import Settings
from sterna.server.units import Duration, Size
from tests.command import sterna
from tests.server.conftest import Running, running
from tests.server.raw import post, read_until

DRAWN: dict[str, Any] = {"prompt": "Once upon a time", "max_tokens": 20, "ignore_eos": True, "seed": 1}


def numbers(served: Running) -> dict[str, float]:
    """The samples of a scrape, those of a model without its label."""
    response = served.http.get("/metrics")
    assert response.headers["content-type"] == CONTENT_TYPE
    lines = [line for line in response.text.splitlines() if not line.startswith("#")]
    return {
        re.sub(r',?model="[^"]*"', "", name): float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
    }


def test_requests_are_counted(served: Running) -> None:
    before = numbers(served)
    served.post("/v1/completions", DRAWN).raise_for_status()
    served.post("/v1/completions", {**DRAWN, "n": 3, "lookup": 4}).raise_for_status()
    served.post("/v1/completions", {**DRAWN, "regex": "(ab){5}", "ignore_eos": False}).raise_for_status()
    served.post("/v1/completions", {"max_tokens": 1})
    with post(served, "/v1/completions", {**DRAWN, "max_tokens": 400, "stream": True}) as client:
        read_until(client, b'"text":')
    served.eventually(
        lambda: numbers(served)["sterna_request_cancelled_total{}"] > before.get("sterna_request_cancelled_total{}", 0)
    )
    served.eventually(lambda: served.llm.statistics.running == 0)  # the engine takes it out before the next pass
    after = numbers(served)

    def gained(name: str) -> float:
        return after[name] - before.get(name, 0)

    prompt = len(served.llm.tokenize(DRAWN["prompt"]))
    assert gained("sterna_prompt_tokens_total{}") == 4 * prompt  # of three choices once
    assert gained("sterna_generation_tokens_total{}") > 4 * 20
    assert gained('sterna_request_success_total{finished_reason="length"}') >= 4
    assert gained("sterna_time_to_first_token_seconds_count{}") == 6
    assert gained("sterna_inter_token_latency_seconds_count{}") > 4
    assert gained("sterna_e2e_request_latency_seconds_count{}") == 4
    assert gained("sterna_spec_decode_num_draft_tokens_total{}") >= gained(
        "sterna_spec_decode_num_accepted_tokens_total{}"
    )
    assert gained("sterna_forced_tokens_total{}") > 0
    assert gained("sterna_iterations_total{}") > 20 and gained("sterna_iteration_tokens_total{}") > 80
    assert gained('sterna_http_requests_total{path="/v1/completions",status="200"}') >= 3
    assert gained('sterna_http_requests_total{path="/v1/completions",status="400"}') == 1
    # The request that was cancelled leaves the engine before its next pass.
    served.eventually(lambda: numbers(served)["sterna_num_requests_running{}"] == 0)
    assert numbers(served)["sterna_num_requests_waiting{}"] == 0
    assert after["sterna_model_loads_total{}"] == 1 and after["sterna_model_bytes{}"] > 3_000_000


def test_a_prefix_that_is_known_is_counted(served: Running) -> None:
    before = numbers(served)
    body = {**DRAWN, "prompt": [7 + n % 90 for n in range(200)]}
    for _ in range(2):
        served.post("/v1/completions", body).raise_for_status()
    after = numbers(served)
    names = ("sterna_prefix_cache_queries_total{}", "sterna_prefix_cache_hits_total{}")
    assert [after[name] - before[name] for name in names] == [398, 192]


def test_each_server_has_a_registry_of_its_own(served: Running) -> None:
    with running() as other:
        assert "sterna_prompt_tokens_total{}" not in numbers(other)


def test_a_line_of_the_log_tells_what_was_asked(served: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "sterna.server"):
        response = served.post("/v1/completions", DRAWN, headers={"X-Request-Id": "mine-1"})
        other = served.post("/v1/completions", DRAWN, headers={"X-Request-Id": "no id\tat all"})
        served.http.get("/health")
    assert response.headers["x-request-id"] == "mine-1" and len(other.headers["x-request-id"]) == 32
    lines = [record for record in caplog.records if record.message == "answered"]
    assert [(line.path, line.status, line.method) for line in lines] == [("/v1/completions", 200, "POST")] * 2


def test_records_become_json() -> None:
    record = logging.makeLogRecord(
        {"msg": "a %s", "args": ("line\n",), "levelname": "INFO", "model": Path("m"), "n": 2}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line).items() >= {"level": "info", "message": "a line\n", "model": "m", "n": 2}.items()


@pytest.mark.parametrize(
    ("text", "size"), [("8GB", 8e9), ("512 MiB", 512 << 20), ("1.5g", 1.5e9), ("100", 100), ("2kib", 2048)]
)
def test_sizes_are_read(text: str, size: float) -> None:
    assert Size().read("--memory", text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("300ms", 0.3),
        ("-1", math.inf),
        ("-1m", math.inf),
        ("0", 0),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert Duration().read("--keep-alive", text) == seconds
    assert Duration().take("keep_alive", text) == seconds


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Size(), "8 apples"),
        (Size(), "-1"),
        (Size(), "0"),
        (Duration(), "5 apples"),
        (Duration(), "m"),
        (Duration(), ""),
    ],
)
def test_other_texts_are_refused(rule: Any, text: str) -> None:
    with pytest.raises(OptionError):
        rule.read("--flag", text)


def test_a_unix_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with running(settings=Settings(unix=path)):
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://anything.example.com/health").json() == {"status": "ok"}


def test_a_system_without_unix_sockets_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(UnsupportedError, match="no Unix sockets; give --host and --port"):
        run([], EngineOptions(), Policy(), Settings(unix=tmp_path / "s"))


def test_https_is_served(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl to make a certificate.")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    made += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made, check=True, capture_output=True)
    with running(settings=Settings(port=0, tls_cert=cert, tls_key=key)) as served:
        port = served.url.rpartition(":")[2]
        context = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"https://localhost:{port}/health", verify=context).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tls-key", "nothing.pem"], "--tls-key is the key of a certificate; give --tls-cert as well."),
        (["--tls-cert", "nothing.pem"], "nothing.pem is no file"),
        (["--api-key-file", "nothing"], "The keys in nothing cannot be read"),
        (["--memory", "much"], "--memory is a size such as 8GB or 512MiB, not 'much'."),
        (["--keep-alive", "long"], "--keep-alive is a time such as 90, 5m or 1h30m"),
        (["--pin", "other"], "There is no model 'other' to pin"),
        (["nothing.gguf"], "nothing.gguf cannot be read"),
    ],
)
def test_wrong_flags_are_told_in_a_sentence(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    result = sterna("serve", *arguments, HF_HUB_OFFLINE="1", STERNA_CACHE=str(tmp_path))
    assert result.returncode in (1, 2) and result.stderr.startswith("Error: ") and sentence in result.stderr


def test_a_broken_model_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"no model")
    result = sterna("serve", str(tmp_path / "broken.gguf"))
    assert result.returncode == 1 and "broken.gguf is too short to be a GGUF file." in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_server_and_tells_its_clients(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "sterna", "serve", "--port", "0", "--grace", "0.1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = next(iter(process.stderr)).split()[-1]
        long = {"prompt": "Once", "max_tokens": 480, "ignore_eos": True, "stream": True, "n": 64}
        with httpx.stream("POST", f"{url}/v1/completions", json=long, timeout=60) as reply:
            lines = reply.iter_lines()
            assert next(lines).startswith((":", "data: "))
            process.send_signal(number)
            told = [line for line in lines if line.startswith("data: ")]
        assert '"code":"model_unloaded"' in told[-1]
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == 128 + number
    finally:
        process.kill()
        process.wait()


def test_a_server_that_all_can_reach_without_a_key_is_warned_of(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sterna", "serve", "--host", "0.0.0.0", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr)
        warning = json.loads(next(lines))
        assert warning["level"] == "warning" and "Everybody who can reach 0.0.0.0" in warning["message"]
        assert next(lines).startswith("Serving at http://0.0.0.0:")
    finally:
        process.kill()
        process.wait()
