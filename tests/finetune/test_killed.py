"""A fine-tuning that is killed at random moments goes on to the bits of an unbroken one, on one process or two."""

from __future__ import annotations

import os
import random
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

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.slow
def test_ten_kills_change_no_bit(tmp_path: Path) -> None:
    write_run(tmp_path)
    whole, parts = (write_config(tmp_path, output=name, steps=150) for name in ("whole", "parts"))
    run_finetuning(whole, lambda line: None)
    random.seed(3)
    log = tmp_path / "parts" / "log.jsonl"
    for _ in range(10):
        running = subprocess.Popen([sys.executable, "-m", "sterna", "finetune", str(parts)], env=ENVIRONMENT)
        begun = log.stat().st_mtime if log.exists() else 0.0
        while running.poll() is None and (not log.exists() or log.stat().st_mtime == begun):
            time.sleep(0.05)
        time.sleep(random.uniform(0.0, 1.0))
        running.kill()
        running.wait()
    assert subprocess.run([sys.executable, "-m", "sterna", "finetune", str(parts)], env=ENVIRONMENT).returncode == 0
    one, other = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


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
