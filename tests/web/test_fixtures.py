"""The files in `web/engine` that are made from the Python side are what it makes."""

from __future__ import annotations

import json

from tests.web.fixtures import contents, written


def test_the_files_for_the_browsers_engine_are_what_python_says() -> None:
    """`python -m tests.web.fixtures` writes them anew."""
    for path, value in contents().items():
        assert json.loads(path.read_text()) == json.loads(written(value)), path
