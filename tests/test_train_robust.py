"""Runs that are killed, whose states are damaged, and whose steps go wrong."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from sterna.errors import FormatError  # noqa: E402
from sterna.train import allocator, running, shards  # noqa: E402
from sterna.train.guard import LEAST, WINDOW, Guard  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.optimizer import Optimizers  # noqa: E402
from sterna.train.pretraining import Pretraining  # noqa: E402
from sterna.train.trainer import DivergedError, run_training  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402

from .test_train_run import CONFIG, one_thread, write_corpus  # noqa: E402, F401

SHORT = ["model.num_layers=1", "watch.sample_tokens=0", "training.eval_steps=1000", "training.checkpoint_steps=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    write_corpus(folder)
    (folder / "run.toml").write_text(CONFIG.format(output="out", steps=12, optimizer="muon"))
    return folder


def train(folder: Path, output: str, *keys: str) -> list[str]:
    lines: list[str] = []
    run_training(folder / "run.toml", lines.append, [*SHORT, f"output={output}", *keys])
    return lines


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> dict[str, Any]:
    """The tensors of the last state of 12 steps without a break."""
    train(folder, "unbroken")
    return load_file(folder / "unbroken" / "state.safetensors")


def assert_equal(path: Path, expected: dict[str, Any]) -> None:
    got = load_file(path)
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(got[name], tensor), name


def killed(folder: Path, output: str, program: str, *keys: str) -> None:
    """Runs a training in a process that a program kills."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom sterna.train import checkpoints, trainer\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{program}\n"
        "trainer.run_training(Path(sys.argv[1]), overrides=sys.argv[2:])\n"
    )
    arguments = [str(folder / "run.toml"), *SHORT, f"output={output}", *keys]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, env=environment)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


def test_a_run_killed_between_two_states_goes_on_to_the_same_bits(folder: Path, unbroken: dict[str, Any]) -> None:
    killed(
        folder,
        "between",
        "from sterna.train.optimizer import Optimizers\nsteps, own = [], Optimizers.step\n"
        "def step(self, *a):\n    own(self, *a); steps.append(1); len(steps) == 10 and kill()\n"
        "Optimizers.step = step",
    )
    log = folder / "between" / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "step", "step": 9, "unfini')
    lines = train(folder, "between")
    assert any("step 8 of 12" in line for line in lines), "the state of step 8 was the last"
    assert_equal(folder / "between" / "state.safetensors", unbroken)
    told = [record["step"] for record in read_records(log) if record["kind"] == "step"]
    assert told == [10, 12], "what the killed run told about steps beyond the state is not told twice"


def test_a_run_goes_on_from_what_another_wrote_before_it_had_the_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = running.locked

    @contextmanager
    def behind_another_run(output: Path) -> Iterator[None]:
        monkeypatch.undo()
        train(folder, "lock", "training.steps=2")
        with own(output):
            yield

    monkeypatch.setattr(running, "locked", behind_another_run)
    assert any("step 2 of 2" in line for line in train(folder, "lock", "training.steps=2"))


def test_a_run_killed_while_one_state_replaces_the_other_goes_on_from_the_other(
    folder: Path, unbroken: dict[str, Any]
) -> None:
    killed(
        folder,
        "replacing",
        "own = checkpoints.os.replace\n"
        "def replace(a, b):\n    own(a, b); str(b).endswith('previous.safetensors') and kill()\n"
        "checkpoints.os.replace = replace",
    )
    names = {path.name for path in (folder / "replacing").iterdir()}
    assert "state.previous.safetensors" in names and "state.safetensors" not in names
    lines = train(folder, "replacing")
    assert "state.safetensors is missing. The run goes on from the state before it, of step 4." in lines[0]
    assert_equal(folder / "replacing" / "state.safetensors", unbroken)


def test_a_damaged_state_is_noticed_by_its_digest_and_the_one_before_it_is_taken(
    folder: Path, unbroken: dict[str, Any]
) -> None:
    train(folder, "damaged", "training.steps=8")
    last = folder / "damaged" / "state.safetensors"
    data = bytearray(last.read_bytes())
    data[-100] ^= 1  # one bit of one weight
    last.write_bytes(data)
    lines = train(folder, "damaged")
    assert re.search(r"is damaged: its SHA-256 is not .* goes on from the state before it, of step 4\.$", lines[0])
    assert_equal(last, unbroken)


def test_damaged_states_are_refused_and_kept(folder: Path) -> None:
    train(folder, "both", "training.steps=8")
    before = {}
    for name in ("state.safetensors", "state.previous.safetensors"):
        path = folder / "both" / name
        before[path] = path.read_bytes()[:-1] + b"\1"
        path.write_bytes(before[path])
    with pytest.raises(FormatError, match="is damaged"):
        train(folder, "both")
    assert all(path.read_bytes() == data for path, data in before.items())


def test_a_state_of_another_run_is_not_passed_over(folder: Path) -> None:
    train(folder, "other", "training.steps=8")
    with pytest.raises(FormatError, match="num_layers 1 -> 2"):
        train(folder, "other", "model.num_layers=2")


def test_a_state_that_cannot_be_read_back_does_not_replace_the_last_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(folder, "disk", "training.steps=4")
    good = (folder / "disk" / "state.safetensors").read_bytes()
    monkeypatch.setattr(shards, "_file_digest", lambda file: b"")
    with pytest.raises(OSError, match="could not be read back"):
        train(folder, "disk")
    assert (folder / "disk" / "state.safetensors").read_bytes() == good
    assert not list((folder / "disk").glob(".*"))


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int], factor: float) -> None:
    """Multiplies the loss of some steps."""
    own_parts, own_loss, now = Pretraining.parts, Pretraining.loss, [0]

    def parts(self: Pretraining, step: int) -> Any:
        now[0] = step
        return own_parts(self, step)

    monkeypatch.setattr(Pretraining, "parts", parts)
    monkeypatch.setattr(
        Pretraining, "loss", lambda self, part: own_loss(self, part) * (factor if now[0] in steps else 1.0)
    )


def test_a_step_without_numbers_is_skipped_and_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {5, 7}, math.nan)  # after step 8 a state was due
    lines = train(folder, "skips")
    skipped = [line for line in lines if "is skipped" in line]
    assert [line.split(":")[0] for line in skipped] == ["step 6 is skipped", "step 8 is skipped"]
    assert "the loss is nan" in skipped[0]
    saved = [
        record["step"] for record in read_records(folder / "skips" / "log.jsonl") if record["kind"] == "checkpoint"
    ]
    assert saved == [4, 9, 12], "no state is written after a step that was no number"
    state = load_file(folder / "skips" / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert state["step.token_embd.weight"] == 10, "two steps were not taken"


def test_too_many_skipped_steps_stop_the_run_at_its_last_good_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, set(range(6, 12)), math.inf)
    with pytest.raises(DivergedError, match=r"^At step 10 the loss is inf .* goes on from step 4, the last") as error:
        train(folder, "stops", "training.most_skipped=3")
    assert "lower training.learning_rate" in str(error.value)
    monkeypatch.undo()
    assert any("step 4 of 12" in line for line in train(folder, "stops"))


def test_weights_that_are_no_numbers_end_the_run_before_they_are_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_step = Optimizers.step

    def step(self: Optimizers, factor: float, weight_decay: float) -> None:
        own_step(self, factor, weight_decay)
        for optimizer, _ in self.parts:
            optimizer.param_groups[0]["params"][0].data.fill_(math.nan)

    monkeypatch.setattr(Optimizers, "step", step)
    keys = ["training.checkpoint_steps=100", "watch.weights_steps=1", "watch.sample_tokens=4"]
    with pytest.raises(DivergedError, match=r"^After step 1 model\.\S+ has numbers that are not finite"):
        train(folder, "spoilt", *keys, "training.eval_steps=1")
    with pytest.raises(DivergedError, match=r"^At step 5 the loss is nan"):
        train(folder, "spoilt", *keys, "training.eval_steps=2", "training.most_skipped=3")
    counted = [record for record in read_records(folder / "spoilt" / "log.jsonl") if record["kind"] == "weights"]
    assert any(matrix["scale"] is None for matrix in counted[-1]["matrices"].values())


def test_a_run_resumed_after_a_spike_judges_later_steps_as_the_unbroken_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sterna.train.guard.LEAST", 3)
    spoil(monkeypatch, {6, 9}, 50.0)
    whole = train(folder, "spikes")
    train(folder, "spikes-parts", "training.steps=8")
    parts = train(folder, "spikes-parts")
    assert [line for line in whole if "is a spike" in line][1:] == [line for line in parts if "is a spike" in line]
    assert sum("step 7 is skipped: its " in line for line in whole) == 1
    assert_equal(folder / "spikes-parts" / "state.safetensors", load_file(folder / "spikes" / "state.safetensors"))


def test_a_guard_knows_spikes_once_it_has_seen_enough_and_accepts_a_level_that_stays() -> None:
    guard = Guard(6.0)
    assert guard.reason(1e9, 1.0) is None, "nothing to compare with"
    guard = Guard(6.0)
    for step in range(LEAST):
        assert guard.reason(3.0 + 0.1 * (step % 2), 1.0 + 0.01 * (step % 3)) is None
    assert "its loss 9 is a spike above 3.05" in (guard.reason(9.0, 1.0) or "")
    assert "its gradient norm" in (guard.reason(3.0, 40.0) or "")
    assert guard.skipped == 2
    restored = Guard(6.0)
    restored.restore(json.loads(json.dumps(guard.recorded())))
    assert restored.recorded() == guard.recorded()
    taken = [guard.reason(9.0, 1.0) is None for _ in range(WINDOW)]
    assert taken[-1] and taken == sorted(taken)
    assert Guard(math.inf).reason(math.nan, 1.0) is not None
    for broken in ({"skipped": "1"}, {"loss": 1.0}, {"loss": ["1"]}, {"gradient norm": [1.0] * (WINDOW + 1)}):
        with pytest.raises(FormatError, match="does not say what the last losses"):
            Guard(6.0).restore(broken)


def test_accumulated_parts_give_the_gradients_of_the_whole_batch(folder: Path) -> None:
    def first_moments(output: str, *keys: str) -> dict[str, Any]:
        train(folder, output, "training.steps=1", "training.warmup_steps=0", "training.optimizer=adamw", *keys)
        state = load_file(folder / output / "state.safetensors")
        return {name: tensor for name, tensor in state.items() if name.startswith("exp_avg.")}

    whole, parts = first_moments("whole"), first_moments("parts", "training.accumulation=2")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-3, atol=1e-7)


def test_memory_that_ends_during_a_step_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "forward", lambda self, tokens: torch.empty(1 << 55))
    with pytest.raises(Exception, match=r"raise training\.accumulation\.$"):
        train(folder, "memory")


def test_where_the_process_has_no_handle_its_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: None) -> None:
        raise TypeError("argument of type 'NoneType' is not iterable")  # as ctypes has it on Windows

    with monkeypatch.context() as patch:
        patch.setattr(allocator.ctypes, "CDLL", refuse)
        with pytest.raises(TypeError):
            allocator.keep_freed_memory()
        patch.setattr(allocator.os, "name", "nt")
        allocator.keep_freed_memory()
        allocator.return_large_memory()
