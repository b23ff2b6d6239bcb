"""The package's layers work without those that they must not import (`[tool.importlinter]` in pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna import _native
from sterna.files.gguf import strings_python


def run(program: str) -> None:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_file_is_opened_and_planned_without_the_compiled_module() -> None:
    run(
        "import sys; sys.modules['sterna._native'] = None\n"
        "from sterna.checkpoint import open_checkpoint\n"
        "from sterna.model.architectures import build_plan\n"
        "from sterna.files.embedded import EMBEDDED_MODEL\n"
        "model = open_checkpoint(EMBEDDED_MODEL).load()\n"
        "assert build_plan(model.config, model.tensors).operations\n"
        "assert model.metadata['tokenizer.ggml.tokens'][5]\n"
    )


def test_importing_sterna_loads_neither_torch_nor_the_engine() -> None:
    run("import sys, sterna; assert not {'torch', 'transformers', 'numpy', 'sterna._native'} & sys.modules.keys()")


def test_the_command_line_loads_what_its_verb_needs() -> None:
    run("import sys, sterna.cli.main; assert not {'numpy', 'asyncio', 'rich', 'fastapi', 'torch'} & sys.modules.keys()")
    run("import sys; from sterna import LLM; assert not {'asyncio', 'llguidance', 'fastapi'} & sys.modules.keys()")


def test_the_engine_needs_no_torch() -> None:
    run("import sys; sys.modules['torch'] = None; from sterna import LLM; LLM().generate('a', max_tokens=2)")


@given(st.lists(st.binary(max_size=12), max_size=40), st.integers(1, 5), st.integers(0, 30))
def test_strings_read_alike_with_and_without_the_native_helper(strings: Sequence[bytes], stride: int, cut: int) -> None:
    data = b"abc" + b"".join(len(string).to_bytes(8, "little") + string for string in strings)
    file = np.frombuffer(data[: len(data) - cut], np.uint8)
    for name, arguments in (("gguf_string_index", (stride,)), ("gguf_strings", ())):
        native, python = getattr(_native, name), getattr(strings_python, name)
        try:
            expected = native(file, 3, len(strings), *arguments)
        except ValueError as error:
            with pytest.raises(ValueError, match=str(error)):
                python(file, 3, len(strings), *arguments)
            continue
        got = python(file, 3, len(strings), *arguments)
        if name == "gguf_strings":
            assert got == expected
        else:
            assert np.array_equal(got[0], expected[0]) and got[1] == expected[1]
