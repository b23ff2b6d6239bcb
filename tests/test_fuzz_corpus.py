"""The fuzzer's seeds and earlier findings: every file is read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from .fuzz.targets import CORPUS, TARGETS, run

FILES = sorted(path for target in TARGETS for path in (CORPUS / target).iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_of_the_corpus_ends_well(path: Path) -> None:
    outcome = run(path.parent.name, path.read_bytes())
    assert outcome == "ok" or outcome.endswith("Error")


def test_the_seeds_work() -> None:
    seeds = ["gguf/bitnet", "gguf/sentencepiece", "safetensors/packed", "index/one-shard", "tokenizer/byte-level"]
    assert {run(Path(seed).parent.name, (CORPUS / seed).read_bytes()) for seed in seeds} == {"ok"}
