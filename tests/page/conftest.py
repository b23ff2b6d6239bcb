"""The packages of `web/` are installed once, before the first test that needs them."""

from __future__ import annotations

import pytest

from tests.page.node import install


@pytest.fixture(scope="session")
def web() -> None:
    install()
