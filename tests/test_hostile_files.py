"""Malicious files: each is refused in one sentence, within 2 seconds and 500 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .hostile_files import FILES, TOKENIZERS


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float | str]]:
    command = [sys.executable, "-m", "tests.hostile_files", str(tmp_path_factory.mktemp("hostile"))]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[1])
    assert result.returncode == 0, result.stderr
    answers: dict[str, dict[str, float | str]] = json.loads(result.stdout)
    return answers


@pytest.mark.parametrize("name", [*FILES, *TOKENIZERS])
def test_a_hostile_file_is_refused_in_a_sentence(name: str, report: dict[str, dict[str, float | str]]) -> None:
    answer = report[name]
    assert answer["status"] == 0, "the process died"
    sentence = str(answer["sentence"])
    assert sentence.endswith((".", "?")) and "\n" not in sentence and len(sentence) < 1000, sentence
    assert float(answer["seconds"]) < 2 and float(answer["megabytes"]) < 500, answer
