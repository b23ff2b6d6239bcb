"""Loads and runs mutated GGUF files: `python -m tests.fuzz_models MODEL HEADERS PAYLOADS`, a JSON report on stdout.

It is a separate program, so that the test that starts it sees a crash, a hang or runaway memory.
"""

from __future__ import annotations

import collections
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from sterna import LLM
from sterna.bench.throughput import peak_rss_mb
from sterna.errors import SternaError

from .mutate import Corpus


def attempt(path: Path) -> str:
    """`ran`, or the name of the error that a mutated file raised."""
    try:
        llm = LLM(path, threads=1)
        assert llm.logits([1, 2, 3]).shape == (3, llm.vocab_size)
        llm.generate("a", max_tokens=2)
        return "ran"
    except SternaError as error:
        sentence = str(error)
        assert sentence.endswith((".", "?")) and "\n" not in sentence, sentence
        return type(error).__name__


def main(model: str, header_count: str, payload_count: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    corpus = Corpus(Path(model))
    report: dict[str, collections.Counter[str]] = {}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.gguf"
        for kind, files in (
            ("header", corpus.header_mutations(int(header_count))),
            ("payload", corpus.payload_mutations(int(payload_count))),
            ("original", [corpus.original]),
        ):
            report[kind] = collections.Counter()
            for data in files:
                path.unlink(missing_ok=True)  # an older file may still be mapped
                path.write_bytes(data)
                started = time.perf_counter()
                report[kind][attempt(path)] += 1
                slowest = max(slowest, time.perf_counter() - started)
    print(json.dumps({**report, "slowest": slowest, "peak_mb": peak_rss_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
