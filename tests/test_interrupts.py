"""Ctrl-C, SIGTERM and SIGHUP at any time of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sterna.files.embedded import EMBEDDED_MODEL

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
AT_IMPORT = """
import os, runpy, signal, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Finder)
sys.argv = ["sterna", "run", "-p", "x"]
runpy.run_module("sterna", run_name="__main__")
"""
CONVERT = """
import os, sys
from sterna.checkpoint.convert import gguf_file
from sterna.cli.main import main

def write_files(folder, *arguments):
    (folder / "half").write_bytes(b"x")
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    os.kill(os.getpid(), number)

number = int(sys.argv.pop())
gguf_file.write_files = write_files
main()
"""


def default_actions() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def ignore(number: signal.Signals) -> Callable[[], None]:
    def before_it_starts() -> None:
        default_actions()
        signal.signal(number, signal.SIG_IGN)

    return before_it_starts


def interrupt_a_text(number: signal.Signals, tokens: int, actions: Callable[[], None]) -> tuple[int, str, str]:
    """Sends a signal once the first byte of a text is printed. Exit status, the rest of stdout, and stderr.

    `actions` sets what signals do before the command starts.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "sterna", "run", "-p", "Once", "-n", str(tokens), "--ignore-eos"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STERNA_ISA": "scalar", "STERNA_THREADS": "1"},
        preexec_fn=actions,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("module", ["typer", "sterna.cli.convert", "sterna.engine.llm"])
def test_a_signal_while_modules_are_imported_ends_without_a_word(number: signal.Signals, module: str) -> None:
    program = AT_IMPORT.format(module=module, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, preexec_fn=default_actions
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_no_temporary_files(tmp_path: Path, number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONVERT, "convert", EMBEDDED_MODEL, tmp_path / "out.gguf", str(int(number))],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=default_actions,
    )
    assert (done.returncode, done.stderr) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_text_is_generated_ends_its_line(number: signal.Signals) -> None:
    status, stdout, stderr = interrupt_a_text(number, 100_000, default_actions)
    assert (status, stderr) == (128 + number, "") and stdout.endswith("\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_the_caller_ignores_stays_ignored(number: signal.Signals) -> None:
    status, _, stderr = interrupt_a_text(number, 40, ignore(number))
    assert (status, stderr) == (0, "")
