"""Training on two processes gives the losses of one, and a run goes on with another number of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sterna.errors import ArgumentError  # noqa: E402
from sterna.train import distributed, plan  # noqa: E402
from sterna.train.trainer import run_training  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402

from .test_train_run import CONFIG, one_thread, write_corpus  # noqa: E402, F401


def write_config(
    folder: Path, name: str, steps: int, weights: str = "ternary", optimizer: str = "adamw", **keys: str
) -> Path:
    path = folder / f"{name}.toml"
    text = CONFIG.format(output=name, steps=steps, optimizer=optimizer).replace("log_steps = 10", "log_steps = 1")
    # Sums of another order differ in the last bit; at high rates, codes that flip soon make that a difference of 1e-3.
    text = text.replace("= 6e-3", "= 5e-4" if weights == "float" else "= 1e-4")
    text += "".join(f"{key} = {value}\n" for key, value in keys.items())
    path.write_text(f'{text}[quantization]\nweights = "{weights}"\n')
    return path


def records(folder: Path, name: str, kind: str) -> list[dict]:
    return [record for record in read_records(folder / name / "log.jsonl") if record["kind"] == kind]


def quiet(line: str) -> None:
    pass


def on_two_processes(config: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "sterna", "train", str(config)], env=environment, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(("weights", "optimizer"), [("float", "adamw"), ("ternary", "adamw"), ("ternary", "muon")])
def test_two_processes_go_on_for_one_and_one_for_two_with_the_losses_of_one(
    tmp_path: Path, weights: str, optimizer: str
) -> None:
    if not torch.distributed.is_available():
        pytest.skip("This build of PyTorch has no torch.distributed.")
    write_corpus(tmp_path)
    run_training(write_config(tmp_path, "one", 7, weights, optimizer), quiet)
    run_training(write_config(tmp_path, "mixed", 2, weights, optimizer), quiet)
    on_two_processes(write_config(tmp_path, "mixed", 5, weights, optimizer, accumulation="2", checkpoint_steps="4"))
    assert [entry["step"] for entry in records(tmp_path, "mixed", "step")] == [1, 2, 3, 4, 5]
    shards = [f"state.step-{step}/2-of-2.safetensors" for step in (4, 5)]
    assert sorted(map(str, (path.relative_to(tmp_path / "mixed") for path in tmp_path.glob("mixed/*/2*")))) == shards
    for shard, state in zip(shards, ("state.previous.safetensors", "state.safetensors"), strict=True):
        first, second = ((tmp_path / "mixed" / name).stat().st_size for name in (state, shard))
        assert second == pytest.approx(first, rel=0.05), "each process writes its half"
    run_training(write_config(tmp_path, "mixed", 7, weights, optimizer), quiet)
    one, mixed = (records(tmp_path, name, "step") for name in ("one", "mixed"))
    assert len(one) == 7
    losses, norms = ([[entry[key] for entry in run] for run in (one, mixed)] for key in ("loss", "norm"))
    assert losses[1] == pytest.approx(losses[0], abs=1e-5 if weights == "float" else 1e-4)
    assert norms[1] == pytest.approx(norms[0], rel=1e-5 if weights == "float" else 1e-3)
    if weights == "ternary":  # the scale of a shard would differ from that of its matrix by about a percent
        first, second = (records(tmp_path, name, "weights")[0]["matrices"] for name in ("one", "mixed"))
        assert second["blk.0.ffn_up"]["scale"] == pytest.approx(first["blk.0.ffn_up"]["scale"], rel=1e-5)


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "process_count", lambda: 3)
    with pytest.raises(ArgumentError, match="3 processes cannot share 4 windows equally"):
        distributed.own_share(torch.zeros(4, 2))
    assert len(distributed.own_share(torch.zeros(6, 2))) == 2


def test_a_process_chooses_its_gpu_before_its_first_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(plan.torch, "zeros", lambda size, device: calls.append(str(device)) or torch.ones(size))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert plan.torch_device("cuda") == torch.device("cuda")
    assert calls == [1, "cuda"]
    plan.torch_device("cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    plan.torch_device("cuda")
    assert calls == [1, "cuda", "cpu", "cuda"]


def test_a_gpu_that_is_not_there_is_one_sentence_under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("This machine has a GPU.")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match=r"^training\.device is 'cuda', and PyTorch cannot use it here: [^.]+\.$"):
        plan.torch_device("cuda")


def test_checkpointed_activations_and_parts_of_a_batch_change_no_loss(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    run_training(write_config(tmp_path, "kept", 3), quiet)
    run_training(write_config(tmp_path, "again", 3, activation_checkpointing="true"), quiet)
    run_training(write_config(tmp_path, "parts", 3, accumulation="4"), quiet)
    kept, again, parts = (
        [entry["loss"] for entry in records(tmp_path, name, "step")] for name in ("kept", "again", "parts")
    )
    assert again == kept
    assert parts == pytest.approx(kept, abs=1e-4)
