"""lm-eval scores the server as it is, by its local-completions: pip fetches it once, into pytest's cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sterna.checkpoint.convert import convert
from sterna.files.embedded import EMBEDDED_NAME
from tests.server.conftest import Running

QUESTIONS = [
    {"query": "The ship came into the", "choices": ["harbour", "potato", "afternoon"], "gold": 0},
    {"query": "She opened the door and looked into the", "choices": ["room", "Tuesday", "seventeen"], "gold": 0},
    {"query": "He drank a cup of", "choices": ["horses", "tea", "thunder"], "gold": 1},
]
TASK = """
task: ships
dataset_path: json
dataset_kwargs: {{data_files: {{test: {questions}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list: [{{metric: acc}}]
"""


@pytest.mark.slow
def test_lm_eval_gets_the_log_likelihoods_of_the_model(
    served: Running, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = environment(request) / "bin" / "lm_eval"
    convert(EMBEDDED_NAME, tmp_path / "tern")
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    (tmp_path / "ships.yaml").write_text(TASK.format(questions=tmp_path / "questions.jsonl"))
    arguments = {
        "model": EMBEDDED_NAME,
        "base_url": f"{served.url}/v1/completions",
        "tokenizer_backend": "huggingface",
        "tokenizer": tmp_path / "tern",
        "max_length": served.llm.context_length,
    }
    command: list[str | Path] = [program, "run", "--model", "local-completions", "--tasks", "ships", "--log_samples"]
    command += ["--model_args", ",".join(f"{name}={value}" for name, value in arguments.items()), "--batch_size", "4"]
    command += ["--include_path", tmp_path, "--output_path", tmp_path / "results"]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, capture_output=True, text=True, env={**clean, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    )
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / "results").rglob("samples_ships*.jsonl")
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(samples) == len(QUESTIONS)
    for sample in samples:
        document = sample["doc"]
        scores = [log_likelihood(served, document["query"], choice) for choice in document["choices"]]
        reported = [float(response[0]) for response in sample["filtered_resps"]]
        assert reported == pytest.approx(scores, abs=1e-4)
        assert sample["acc"] == float(int(np.argmax(scores)) == document["gold"])


def environment(request: pytest.FixtureRequest) -> Path:
    """A virtual environment with lm-eval."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("lm-eval")
    if not (folder / "whole").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "lm-eval[api]==0.4.13", "transformers>=4.56"], check=True)
        (folder / "whole").touch()
    return folder


def log_likelihood(served: Running, query: str, choice: str) -> float:
    """Of a choice after its question and a space, by the model itself."""
    encode = served.llm.tokenizer.encode
    ids, asked = encode(f"{query} {choice}", add_special=False), len(encode(query, add_special=False))
    logits = served.llm.logits(ids).astype(np.float64)
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return float(sum(logprobs[at - 1, ids[at]] for at in range(asked, len(ids))))
