"""What `sterna batch` costs: its speed on many short lines beside that of the engine alone on the same prompts.

    python benchmarks/batch.py [MODEL] [--lines 10000] [--tokens 16] [--repetitions 3] [--threads N]

Both run in this process, in turns, so that both see the same minutes of the machine. The time of the job includes
everything: the model is loaded, the lines are read and checked, and the files are on disk at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from sterna import LLM
from sterna.batch import run
from sterna.engine.options import EngineOptions
from sterna.files.embedded import EMBEDDED_MODEL

WORDS = ("ship", "house", "night", "mother", "friend", "letter", "garden", "road", "king", "sea")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("model", nargs="?", default=str(EMBEDDED_MODEL))
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=16, help="tokens of each answer")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    options = EngineOptions(threads=given.threads)
    prompts = [" ".join(WORDS[n // 10**place % 10] for place in range(6)) for n in range(given.lines)]
    engine, job = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder) / "in.jsonl", prompts, given.tokens)
        for turn in range(given.repetitions):
            engine.append(engine_speed(given.model, options, prompts, given.tokens))
            report = run(source, Path(folder) / f"{turn}.jsonl", given.model, options=options)
            job.append(report.tokens_per_second)
    shares = ", ".join(f"{b / e:.2f}" for b, e in zip(job, engine, strict=True))
    print(f"tokens/s of prompts and answers, median and best: engine alone {told(engine)}, job {told(job)}")
    print(f"share of the engine alone, by turn: {shares}; of the best: {max(job) / max(engine):.2f}")


def told(speeds: list[float]) -> str:
    return f"{statistics.median(speeds):,.0f} and {max(speeds):,.0f}"


def write(path: Path, prompts: list[str], tokens: int) -> Path:
    """A batch file of completions."""
    with open(path, "w") as file:
        for number, prompt in enumerate(prompts):
            body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
            line = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/completions", "body": body}
            file.write(json.dumps(line) + "\n")
    return path


def engine_speed(model: str, options: EngineOptions, prompts: list[str], tokens: int) -> float:
    """Tokens a second of the engine alone, from the texts to the texts."""
    with LLM(model, options) as llm:
        llm.settle()
        began = time.perf_counter()
        done = llm.complete(prompts, max_tokens=tokens, temperature=1.0, ignore_eos=True)
        seconds = time.perf_counter() - began
    return sum(each.prompt_tokens + each.completion_tokens for each in done) / seconds


if __name__ == "__main__":
    main()
