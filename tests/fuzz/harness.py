"""Runs one target under atheris: `python -m tests.fuzz.harness TARGET [libFuzzer's options and corpora]`."""

from __future__ import annotations

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["sterna", "jinja2"]):
    import sterna.model.chat.sandbox  # noqa: F401  (otherwise imported at its first use, too late to be instrumented)

    from .targets import run


def main() -> None:
    name = sys.argv.pop(1)
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, lambda data: run(name, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
