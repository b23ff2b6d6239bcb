"""The examples of the README and of docs/: blocks marked `run` are run, and print what the block after them says.

    ```python run            or ```sh run
    print(1 + 1)
    ```
    ```text output
    2
    ```

The blocks of a page follow each other: in Python they share their names, in the shell a folder, which has a copy of
`examples`. Output is compared word by word, for a page may fold long lines. A block marked `serve` in place of `run` is
run beside a `sterna serve`. What needs a network or many minutes is in blocks that name no language.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

import sterna
from sterna.cli.main import app

from .server.conftest import running

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"^```(?P<kind>\w+) (?P<mark>run|serve)\n(?P<code>.*?)^```$(?:\n```text output\n(?P<output>.*?)^```$)?", re.M | re.S
)
ADDRESS = "http://127.0.0.1:8080"
"""Where `sterna serve` listens if nothing else is said; an example's server has another port."""


@dataclass(frozen=True)
class Example:
    """A block to run, the line that it begins at, and what it prints (None where the page does not say)."""

    kind: str
    mark: str
    line: int
    code: str
    output: str | None


def examples(page: Path) -> list[Example]:
    text = page.read_text()
    return [
        Example(found["kind"], found["mark"], text[: found.start()].count("\n") + 1, found["code"], found["output"])
        for found in FENCE.finditer(text)
    ]


def run_shell(code: str, folder: Path) -> str:
    command = folder.parent / "bin" / "sterna"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m sterna "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(sterna.__file__).parents[1]),
        "STERNA_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_python(code: str, names: dict[str, object], page: str, line: int) -> str:
    captured = io.StringIO()
    with contextlib.redirect_stdout(captured):
        exec(compile("\n" * line + code, page, "exec"), names)
    return captured.getvalue()


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_the_examples_of_a_page_do_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path / "here"
    names: dict[str, object] = {"__name__": "__main__"}
    shutil.copytree(ROOT / "examples", folder / "examples")
    monkeypatch.chdir(folder)
    with contextlib.ExitStack() as stack:
        url = ADDRESS
        if any(example.mark == "serve" for example in examples(page)):
            url = stack.enter_context(running()).url
        for example in examples(page):
            code = example.code.replace(ADDRESS, url)
            if example.kind == "sh":
                printed = run_shell(code, folder)
            else:
                printed = run_python(code, names, str(page), example.line)
            if example.output is not None:
                assert printed.split() == example.output.split(), f"{page.name}, line {example.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_python_or_shell_is_run(page: Path) -> None:
    blocks = re.findall(r"^```(?:python|py|sh|bash|shell)\b.*$", page.read_text(), re.M)
    assert len(blocks) == len(examples(page)), "a block without a mark"


def test_the_pages_about_the_interfaces_have_examples() -> None:
    for name in ("cli.md", "python.md"):
        assert len(examples(ROOT / "docs" / name)) >= 5


def test_docs_know_every_verb_and_flag() -> None:
    """Each verb and each of its flags is in docs/cli.md, and no other flag is."""
    text = (ROOT / "docs" / "cli.md").read_text()
    group = typer.main.get_command(app)
    flags = {option for option in group.params for option in option.opts + option.secondary_opts}
    for name, verb in group.commands.items():  # type: ignore[attr-defined]
        assert f"## `sterna {name}" in text, name
        flags |= {opt for param in verb.params for opt in param.opts + param.secondary_opts if opt.startswith("-")}
    flags |= {"-h", "--help"}
    documented = set(
        re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*|(?<![\w-])-V", re.sub(r"```.*?```", "", text, flags=re.S))
    )
    assert flags - documented == set(), "flags without a word"
    assert {flag for flag in documented if flag.startswith("--")} <= flags, "flags that do not exist"
