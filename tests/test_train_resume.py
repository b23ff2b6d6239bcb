"""Resumed runs that take long to try: compiled ones in bfloat16, and those of two processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from .test_train_robust import assert_equal, folder, killed, train  # noqa: E402, F401
from .test_train_run import one_thread  # noqa: E402, F401

pytestmark = pytest.mark.slow

KILLED_AT_STEP_10 = (
    "from sterna.train.optimizer import Optimizers\nsteps, own = [], Optimizers.step\n"
    "def step(self, *a):\n    own(self, *a); steps.append(1); len(steps) == 10 and kill()\n"
    "Optimizers.step = step"
)


def test_a_compiled_run_in_bfloat16_goes_on_to_the_same_bits(folder: Path) -> None:  # noqa: F811
    keys = ["training.precision=bf16", "training.compile=true"]
    train(folder, "compiled-unbroken", *keys)
    killed(folder, "compiled", KILLED_AT_STEP_10, *keys)
    lines = train(folder, "compiled", *keys)
    assert any("step 8 of 12" in line for line in lines)
    unbroken = load_file(folder / "compiled-unbroken" / "state.safetensors")
    assert_equal(folder / "compiled" / "state.safetensors", unbroken)


def on_two_processes(folder: Path, output: str, program: str = "") -> subprocess.CompletedProcess[str]:  # noqa: F811
    """Runs a training on two processes, in which `program` runs first."""
    (folder / "two.py").write_text(
        "import os, signal, sys\nfrom pathlib import Path\nfrom sterna.train import trainer\n"
        f"{program}\n"
        "trainer.run_training(Path(sys.argv[1]), overrides=sys.argv[2:])\n"
    )
    keys = ["model.num_layers=1", "watch.sample_tokens=0", "training.checkpoint_steps=4", f"output={output}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, str(folder / "two.py"), str(folder / "run.toml"), *keys],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_two_processes_of_which_one_is_killed_while_it_saves_go_on_to_the_same_bits(folder: Path) -> None:  # noqa: F811
    assert on_two_processes(folder, "two-unbroken").returncode == 0
    after_its_shard = (
        "from sterna.train import state\nown = state.write_file\n"
        "def write_file(path, *a):\n    digest = own(path, *a)\n"
        "    'step-8' in str(path) and os.kill(os.getpid(), signal.SIGKILL)\n    return digest\n"
        "state.write_file = write_file"
    )
    assert on_two_processes(folder, "two", after_its_shard).returncode != 0
    assert sorted(path.name for path in (folder / "two").glob("state*")) == [
        "state.safetensors",
        "state.step-4",
        "state.step-8",
    ]
    resumed = on_two_processes(folder, "two")
    assert resumed.returncode == 0 and re.search("step 4 of 12", resumed.stderr)
    for file in (folder / "two-unbroken").glob("**/*state*.safetensors"):
        assert_equal(folder / "two" / file.relative_to(folder / "two-unbroken"), load_file(file))
    shards = sorted(str(path.relative_to(folder / "two")) for path in (folder / "two").glob("state.step-*/*"))
    assert shards == ["state.step-12/2-of-2.safetensors", "state.step-8/2-of-2.safetensors"]
    for shard in shards:
        assert_equal(folder / "two" / shard, load_file(folder / "two-unbroken" / shard))
