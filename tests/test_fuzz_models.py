"""10,000 damaged model files: each is refused in a sentence or runs, in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from sterna.files.gguf.writer import write_gguf

from .helpers import gguf_metadata, tiny_tensors

HEADERS, PAYLOADS = 9000, 1000


def test_mutated_files_never_crash_hang_or_eat_memory(tmp_path: Path) -> None:
    tokens = ["<s>", "</s>", *map(chr, range(33, 127))]
    vocabulary = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 3] + [1] * 94,
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }
    write_gguf(tmp_path / "model.gguf", gguf_metadata() | vocabulary, tiny_tensors().values())
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz_models", str(tmp_path / "model.gguf")]
    result = subprocess.run(
        [*command, str(HEADERS), str(PAYLOADS)],
        capture_output=True,
        text=True,
        timeout=900,
        cwd=Path(__file__).parents[1],
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["original"] == {"ran": 1}
    assert report["payload"] == {"ran": PAYLOADS}
    assert sum(report["header"].values()) == HEADERS
    assert report["header"]["FormatError"] > HEADERS / 4
    assert report["slowest"] < 5 and report["peak_mb"] < 500
