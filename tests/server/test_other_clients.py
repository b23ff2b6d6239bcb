"""Clients that are installed for these tests alone, in places of their own: npm's, and heavy ones of Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Running

HERE = Path(__file__).parent
MESSAGES = [{"role": "user", "content": "Tell me of the sea."}]
DRAWN: dict[str, Any] = {"max_tokens": 20, "temperature": 0.8, "seed": 5}
PACKAGES = ("litellm==1.110.*", "llm==0.36.*", "pydantic-ai-slim[openai,anthropic]==2.68.*")


def expected(served: Running) -> str:
    """What the model itself says, and how the clients shall ask for it, as JSON."""
    completion = served.llm.complete([served.llm.tokenizer.encode_chat(MESSAGES)], **DRAWN)[0]
    counts = {"prompt_tokens": completion.prompt_tokens, "completion_tokens": completion.completion_tokens}
    return json.dumps({"messages": MESSAGES, "text": completion.text, **counts, **DRAWN})


def run(*command: str | Path, **more: Any) -> str:
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900, **more)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npms_clients(served: Running, tmp_path: Path) -> None:
    for file in (HERE / "npm").iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=tmp_path)
    told = run("node", "clients.mjs", served.url, expected(served), cwd=tmp_path)
    assert told.count("as the model itself") == 4


@pytest.mark.slow
def test_heavy_clients_of_python(served: Running, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *PACKAGES)
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables = plain | {"LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)}
    told = run(python, HERE / "heavy_clients.py", served.url, expected(served), env=variables, cwd=tmp_path)
    assert told.count("as the model itself") == 3
