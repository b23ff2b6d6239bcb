"""A fine-tuning that is killed at random moments goes on to the bits of an unbroken one, on one process or two."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from sterna.finetune.run import run_finetuning  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402

from .bases import write_config, write_run  # noqa: E402

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "STERNA_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


SECTIONS = {
    "full": "",
    "convert": "[convert]\nlambda_steps = 60\nnorms = 'sub'",
    "distill": "[convert]\nlambda_steps = 60\n[distill]\nlayer = 0\nsplit_heads = 8",
    "lora": "[lora]\nr = 4\ndropout = 0.1\n[export]\nmerge = 'qat'\nmerge_steps = 260",
}
"""What a mode computes before its first step, and draws in each, is part of what must be the same."""


@pytest.mark.slow
@pytest.mark.parametrize("mode", SECTIONS)
def test_ten_kills_change_no_bit(tmp_path: Path, mode: str) -> None:
    write_run(tmp_path, "LlamaForCausalLM" if mode in ("convert", "distill") else "BitNetForCausalLM")
    steps = 40 if mode == "lora" else 300
    whole, parts = (write_config(tmp_path, mode, steps, SECTIONS[mode], name) for name in ("whole", "parts"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STERNA_THREADS", "1")
        run_finetuning(whole, lambda line: None)
    random.seed(3)
    command = [sys.executable, "-m", "sterna", "finetune", str(parts)]
    for _ in range(10):
        begun = _last_record(tmp_path / "parts")
        running = subprocess.Popen(command, env=ENVIRONMENT)
        while running.poll() is None and _last_record(tmp_path / "parts") == begun:
            time.sleep(0.05)
        time.sleep(random.uniform(0.0, 0.5))
        running.kill()
        assert running.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert subprocess.run(command, env=ENVIRONMENT).returncode == 0
    states = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("state.safetensors"))
    assert len(states) == (2 if mode == "lora" else 1)
    for state in states:
        one, other = (load_file(tmp_path / name / state) for name in ("whole", "parts"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def _last_record(output: Path) -> float:
    """When a run wrote to one of its logs last; 0 if it has none."""
    return max((log.stat().st_mtime for log in output.rglob("log.jsonl")), default=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "distill"])
def test_two_processes_have_the_losses_of_one(tmp_path: Path, mode: str) -> None:
    if not torch.distributed.is_available():
        pytest.skip("This build of PyTorch has no torch.distributed.")
    write_run(tmp_path, "LlamaForCausalLM")
    more = "[distill]\nlayer = 0\nsplit_heads = 8\n" if mode == "distill" else ""
    one, two = (write_config(tmp_path, mode, output=name, steps=4, more=more) for name in ("one", "two"))
    run_finetuning(one, lambda line: None, ["training.log_steps=1"])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "sterna", "finetune", str(two), "training.log_steps=1"],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    losses = [
        [record["loss"] for record in read_records(tmp_path / name / "log.jsonl") if record["kind"] == "step"]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=2e-2 if mode == "distill" else 1e-4)
