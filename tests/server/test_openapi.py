"""Our own OpenAPI description, by schemathesis: every request gets a status that the description names, and none is an
error of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_NAME
from sterna.jobs import Limits, jobs
from sterna.server.app import create_app
from sterna.server.known import known_models
from sterna.server.models import Models
from sterna.server.settings import Settings
from tests.server.conftest import Running, running

NOT_HERE = ("/api/create", "/api/push", "/api/blobs/{digest}")
"""They answer 501, as their description says."""
REACHES_OUT = ("/api/pull",)
"""It would ask the hub for the names that are made up."""


def operations() -> list[tuple[str, str]]:
    described = create_app(Models(known_models([EMBEDDED_NAME])), Settings(), [jobs(Limits())]).openapi()["paths"]
    return [
        (path, method)
        for path, methods in described.items()
        for method in methods
        if path not in (*NOT_HERE, *REACHES_OUT)
    ]


@pytest.fixture(scope="module")
def short() -> Iterator[Running]:
    """A server with a small context, so that texts without a limit end soon."""
    models = Models(known_models([EMBEDDED_NAME]), EngineOptions(threads=1, ctx=48))
    with running(models, extensions=[jobs(Limits())]) as served:
        served.post("/v1/completions", {"prompt": "a", "max_tokens": 1}).raise_for_status()
        yield served


def check(served: Running, path: str, method: str, examples: int) -> None:
    schema = schemathesis.openapi.from_dict(served.http.get("/openapi.json").json())
    operation = schema[path][method]

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def holds(case: schemathesis.Case) -> None:
        checks = [not_a_server_error, status_code_conformance]
        case.call_and_validate(base_url=served.url, checks=checks, timeout=120)

    holds()


@pytest.mark.parametrize(("path", "method"), operations())
def test_a_described_operation_answers_as_described(short: Running, path: str, method: str) -> None:
    check(short, path, method, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "method"), operations())
def test_many_requests_are_answered_as_described(short: Running, path: str, method: str) -> None:
    check(short, path, method, 100)
