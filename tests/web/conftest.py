"""The packages of `web/` are installed once, before the first test that needs them."""

from tests.page.conftest import web

__all__ = ["web"]
