"""Training runs as people start, stop, change and break them."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.errors import ArgumentError, FormatError, SternaError  # noqa: E402
from sterna.train.describe import describe  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.optimizer import Optimizers  # noqa: E402
from sterna.train.plan import plan_training  # noqa: E402
from sterna.train.trainer import DivergedError, run_training  # noqa: E402

WORDS = (
    "the dark stormy night rain fell torrents except occasional intervals checked violent gust wind swept streets "
    "london scene lies"
).split()
MODEL = (
    "[model]\nvocab_size=320\nhidden_size=128\nintermediate_size=128\nnum_layers=1\nnum_heads=2\nnum_kv_heads=1\n"
    'context_length=16\n[data]\ntrain=["t.txt"]\nvalid=["v.txt"]\n[training]\n'
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = random.Random(0)
    (tmp_path / "t.txt").write_text(" ".join(rng.choice(WORDS) for _ in range(3000)))
    (tmp_path / "v.txt").write_text(" ".join(rng.choice(WORDS) for _ in range(50)))
    return tmp_path


def write(folder: Path, **training: Any) -> Path:
    keys = dict(steps=2, batch_size=1, learning_rate=1e-3, embedding_learning_rate=1e-3, checkpoint_steps=1) | training
    lines = "".join(f"{key}={json.dumps(value)}\n" for key, value in keys.items())
    (folder / "c.toml").write_text('name="x"\noutput="o"\n' + MODEL + lines)
    return folder / "c.toml"


def train(folder: Path, *overrides: str, **training: Any) -> list[str]:
    """The lines that a run reports."""
    lines: list[str] = []
    run_training(write(folder, **training), lines.append, overrides)
    return lines


def sterna(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sterna", *map(str, arguments)], capture_output=True, text=True, timeout=120, **options
    )


@pytest.mark.parametrize("first", ["muon", "adamw"])
def test_resume_with_another_optimizer(folder: Path, first: str) -> None:
    """It goes on with fresh moments, and says so."""
    second = {"muon": "adamw", "adamw": "muon"}[first]
    train(folder, optimizer=first)
    before = load_file(folder / "o" / "state.safetensors")
    lines = train(folder, optimizer=second, steps=4)
    assert any(f"training.optimizer {first} -> {second} (its moments begin anew)" in line for line in lines)
    assert any("step 2 of 4" in line for line in lines)
    after = load_file(folder / "o" / "state.safetensors")
    slot = {"muon": "momentum_buffer", "adamw": "exp_avg_sq"}
    assert f"{slot[second]}.blk.0.attn_q.weight" in after and f"{slot[first]}.blk.0.attn_q.weight" not in after
    assert before["step.token_embd.weight"] == 2 and after["step.token_embd.weight"] == 4, "AdamW as before"


def test_what_changed_since_the_checkpoint_is_said(folder: Path) -> None:
    assert not any("has changed" in line for line in train(folder))
    assert not any("has changed" in line for line in train(folder))
    lines = train(folder, learning_rate=2e-3, batch_size=2, seed=7, steps=3)
    said = next(line for line in lines if "has changed" in line)
    for change in ("learning_rate 0.001 -> 0.002", "batch_size 1 -> 2", "seed 0 -> 7", "steps 2 -> 3"):
        assert f"training.{change}" in said
    assert "embedding" not in said and "since step 2" in said


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.num_layers=2", "num_layers 1 -> 2"),
        ("model.vocab_size=330", "vocab_size 320 -> 330"),
        ('data.train=["v.txt"]', "other training data"),
    ],
)
def test_what_a_checkpoint_cannot_take_is_refused_and_nothing_is_written(
    folder: Path, override: str, sentence: str
) -> None:
    train(folder)
    before = {path.name: path.read_bytes() for path in (folder / "o").iterdir() if path.is_file()}
    with pytest.raises(FormatError, match=sentence):
        train(folder, override)
    assert {path.name: path.read_bytes() for path in (folder / "o").iterdir() if path.is_file()} == before


def test_toml_bom(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b'\xef\xbb\xbfname = "x"\r\n')
    with pytest.raises(ArgumentError, match="lacks output"):
        run_training(tmp_path / "c.toml")


def test_a_second_training_of_the_folder_is_refused(folder: Path) -> None:
    seen: list[str] = []

    def report(line: str) -> None:
        if not seen:
            seen.append(line)
            seen.append(sterna("train", folder / "c.toml").stderr)

    run_training(write(folder), report)
    assert seen[1].startswith("Error: Another training is running in") and seen[1].count("\n") == 1
    assert train(folder), "the lock ends with the run"


@pytest.mark.parametrize("kind", ["weights", "moments"])
def test_a_state_that_is_not_finite_is_not_saved(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The last step before a checkpoint breaks the weights, although its loss was finite."""
    train(folder)
    state = (folder / "o" / "state.safetensors").read_bytes()
    step = Optimizers.step

    def broken(self: Optimizers, factor: float, weight_decay: float) -> None:
        step(self, factor, weight_decay)
        for optimizer, _ in self.parts:
            for parameter in optimizer.param_groups[0]["params"]:
                tensor = parameter.data if kind == "weights" else optimizer.state[parameter]["exp_avg"]
                tensor.fill_(float("inf"))

    with monkeypatch.context() as patch:
        patch.setattr(Optimizers, "step", broken)
        with pytest.raises(DivergedError) as error:
            train(folder, steps=3)
    assert "lower training.learning_rate" in str(error.value) and "goes on from step 2" in str(error.value)
    assert (folder / "o" / "state.safetensors").read_bytes() == state
    assert any("step 2 of 3" in line for line in train(folder, steps=3, learning_rate=1e-4)), "the advice works"


def test_a_loss_that_is_not_finite_before_the_first_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "forward", lambda self, tokens: self.token_embd(tokens) @ self.token_embd.weight.T / 0)
    with pytest.raises(DivergedError, match=r"lower .* start it again\.$"):
        train(folder)
    assert not (folder / "o" / "state.safetensors").exists()


def test_a_state_of_a_diverged_run_is_named(folder: Path) -> None:
    train(folder)
    path = folder / "o" / "state.safetensors"
    with __import__("safetensors").safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["model.output_norm.weight"][3] = float("nan")
    del metadata["sha256"]  # otherwise the file would be damaged
    save_file(tensors, path, metadata)
    with pytest.raises(FormatError, match=r"diverged.* Delete it to begin again"):
        train(folder, steps=3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_run_that_says_where_it_goes_on(folder: Path, number: signal.Signals) -> None:
    config = write(folder, steps=100_000, checkpoint_steps=20, log_steps=5)
    process = subprocess.Popen(
        [sys.executable, "-m", "sterna", "train", config],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert process.stderr is not None
    while "step 45 " not in process.stderr.readline():
        pass
    process.send_signal(number)
    last = process.stderr.read().splitlines()[-1]
    assert process.wait(30) == 128 + number
    assert last.startswith("Stopped at step ") and "; the same command goes on from step " in last
    saved = int(last.rstrip(".").rsplit(" ", 1)[1])
    assert saved >= 40 and saved % 20 == 0
    assert [path.name for path in (folder / "o").iterdir() if path.name.startswith(".")] == []
    assert any(f"step {saved} of {saved + 1}" in line for line in train(folder, steps=saved + 1, log_steps=5))


def test_a_killed_run_leaves_nothing_for_the_next_one(folder: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from sterna.train import shards\n"
        "shards._file_digest = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from sterna.train.trainer import run_training\n"
        "run_training(Path(sys.argv[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, write(folder)], stderr=subprocess.PIPE).returncode == -9
    assert [path for path in (folder / "o").iterdir() if path.name.startswith(".state.safetensors.")]
    train(folder)
    assert [path for path in (folder / "o").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("training.gradient_clip=0", "training.gradient_clip must be positive"),
        ("training.weight_decay=nan", "finite and not negative"),
        ("training.batch_size=100000000", "training.batch_size = 100000000 needs more than"),
        ("training.stepz=1", "Unknown key training.stepz"),
        ("training.steps", "overrides nothing"),
        ("=1", "overrides nothing"),
        ("name.x=1", "name is no section"),
        ("training.steps=two", "training.steps must be of type int, not str"),
        ("training.steps=1\n[x]", "training.steps must be of type int, not str"),
    ],
)
def test_wrong_values_are_one_sentence(folder: Path, override: str, sentence: str) -> None:
    with pytest.raises(ArgumentError) as error:
        train(folder, override)
    assert sentence in str(error.value) and str(error.value).endswith(".")
    assert not (folder / "o").exists()


def test_memory_that_is_not_there_is_said_by_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: Decoder, tokens: Any) -> Any:
        return torch.empty(1 << 55)

    monkeypatch.setattr(Decoder, "forward", forward)
    with pytest.raises(SternaError, match=r"training\.batch_size = 1 windows of model\.context_length = 16"):
        train(folder)


def test_a_full_disk_names_the_file_that_was_asked_for(folder: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    result = sterna("train", write(folder), preexec_fn=limit)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"Error: {folder / 'o' / 'state.safetensors'}: File too large."
    assert [path.name for path in (folder / "o").iterdir() if path.name.startswith(".")] == []


def test_overrides_are_toml_or_words(folder: Path) -> None:
    lines = train(folder, "training.steps=3", "training.optimizer=muon", "output=other", 'name="y"', "training.seed=4")
    assert any("step 0 of 3" in line for line in lines)
    assert (folder / "other" / "y.gguf").exists() and not (folder / "o").exists()


def test_a_dry_run_says_what_would_be_done_and_does_nothing(folder: Path) -> None:
    config = write(folder, steps=5)
    before = sorted(folder.iterdir())
    lines = describe(plan_training(config, ["training.batch_size=3"]))
    assert sorted(folder.iterdir()) == before
    parameters = sum(
        parameter.numel() for parameter in Decoder(plan_training(config).config.model.model_config()).parameters()
    )
    text = "\n".join(lines)
    assert f"{parameters:,} parameters" in text and "begins anew" in text and "kB in 1 file" in text
    assert "5 of 48 tokens, 240 in all" in text and str(folder / "o") in text and "MB" in text
    train(folder)
    result = sterna("train", config, "--dry-run", "training.seed=3")
    assert result.returncode == 0 and result.stderr == ""
    assert "resumes after step 2" in result.stdout and "tokens, made before" in result.stdout
    assert "training.seed 0 -> 3" in result.stdout and "training.steps 2 -> 5" not in result.stdout


def test_the_example_trains_in_a_clone(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "examples"
    shutil.copytree(examples, tmp_path / "examples")
    result = sterna("train", tmp_path / "examples" / "tiny.toml", "training.steps=2", "training.batch_size=2")
    assert result.returncode == 0, result.stderr
    assert "step 0 of 2" in result.stderr
    assert LLM(tmp_path / "build" / "tiny" / "tiny.gguf", threads=1).generate("It was", max_tokens=2)
    assert os.path.getsize(examples / "data" / "hound.txt") < 400_000
