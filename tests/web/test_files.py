"""Whole GGUF files in the browser's engine: each kind of matrix and head, and every architecture, beside the CPU."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint.convert import convert
from sterna.checkpoint.gguf.keys import config_keys, config_tensors
from sterna.files.gguf import write_gguf
from tests import helpers
from tests.page.node import run

BITNET = replace(helpers.TINY, hidden_size=256, intermediate_size=256, head_dim=64, vocab_size=256)
LLAMA = replace(BITNET, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False)
QWEN2 = replace(LLAMA, architecture="qwen2", rope_style="half")
QWEN3 = replace(helpers.QWEN3, hidden_size=256, intermediate_size=256, vocab_size=256)
GEMMA3 = replace(helpers.GEMMA3, hidden_size=256, intermediate_size=256, vocab_size=256, sliding_window=5)
FILES = {
    "bitnet tq1_0 q6_k tied": (BITNET, "tq1_0", "q6_k"),
    "llama tq2_0 f16": (LLAMA, "tq2_0", "f16"),
    "qwen2 i2_s q8_0": (QWEN2, "i2_s", "q8_0"),
    "qwen3 tq1_0 f32 tied": (QWEN3, "tq1_0", "f32"),
    "gemma3 i2_s q8_0 tied": (GEMMA3, "i2_s", "q8_0"),
}
"""Models, and the types of their matrices and heads."""
TOKENS = np.random.default_rng(3).integers(0, 256, 16).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each file as NAME.gguf, with the expected logits as NAME.f32, and tokens.json."""
    folder, made_in = tmp_path_factory.mktemp("files"), tmp_path_factory.mktemp("made")
    for name, (config, matrices, head) in FILES.items():
        made, path = made_in / f"{name}.gguf", folder / f"{name}.gguf"
        tensors = [*helpers.tiny_tensors(config).values(), *config_tensors(config)]
        write_gguf(made, config_keys(config, name), tensors)
        convert(made, path, type=matrices, head=head)
        llm = LLM(path)
        ternary = {tensor.encoding for tensor in llm.checkpoint.tensors.values() if tensor.encoding.is_ternary}
        assert [encoding.name for encoding in ternary] == [matrices.upper()]
        llm.logits(TOKENS).tofile(path.with_suffix(".f32"))
    (folder / "tokens.json").write_text(json.dumps(TOKENS))
    return folder


@pytest.mark.usefixtures("web")
def test_logits_are_the_cpus(folder: Path) -> None:
    compare(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("web")
def test_llama_cpps_files_have_its_logits(tmp_path: Path) -> None:
    for encoding in ("TQ1_0", "TQ2_0"):
        name = f"tiny-bitnet-{encoding}"
        shutil.copy(helpers.shared("golden", f"{name}.gguf"), tmp_path)
        shutil.copy(helpers.shared("golden", f"llamacpp-{encoding}.logits.f32"), tmp_path / f"{name}.f32")
    (tmp_path / "tokens.json").write_text(json.dumps(helpers.TOKENS))
    compare(tmp_path, median=1.0, kl=1e-2)  # its activations are int8 in blocks of 256


def compare(folder: Path, median: float = 3e-2, kl: float = 5e-3) -> None:
    """`web/engine/test/folder.test.ts` on the folder, with bounds of errors."""
    bounds = {"STERNA_FILES": str(folder), "STERNA_MEDIAN": str(median), "STERNA_KL": str(kl)}
    told = run("npm", "test", "--workspace", "engine", "--", "test/folder.test.ts", env={**os.environ, **bounds})
    if not re.search(r"Tests\b.*\d+ passed", told):
        pytest.skip("neither a GPU nor the SwiftShader of Debian's chromium is here")
