"""What a run tells: records, lines, plots, TensorBoard, the live line, samples; and what a dry run says."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from sterna.cli.live_line import LiveLine  # noqa: E402
from sterna.errors import ArgumentError, FormatError, NotFoundError  # noqa: E402
from sterna.model.architectures import ARCHITECTURES  # noqa: E402
from sterna.ternary.quantization import Quantization  # noqa: E402
from sterna.train.bitlinear import BitLinear  # noqa: E402
from sterna.train.config import TRAINED, RunConfig, TrainingSection, load_config  # noqa: E402
from sterna.train.describe import describe  # noqa: E402
from sterna.train.plan import plan_training  # noqa: E402
from sterna.train.presets import describe_presets, preset_names  # noqa: E402
from sterna.train.schedule import learning_rate_factor, stages, weight_decay  # noqa: E402
from sterna.train.trainer import run_training  # noqa: E402
from sterna.train.watch.lines import duration  # noqa: E402
from sterna.train.watch.machine import flops_per_token, peak_flops  # noqa: E402
from sterna.train.watch.plot import plot_run  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402
from sterna.train.watch.weights import WeightWatch  # noqa: E402

from .test_train_run import CONFIG, one_thread, write_corpus  # noqa: E402, F401


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[dict[str, Any]]]:
    """The folder of a run of 20 steps, its lines, and the records of its live line."""
    folder = tmp_path_factory.mktemp("watch")
    write_corpus(folder)
    (folder / "run.toml").write_text(CONFIG.format(output="out", steps=20, optimizer="muon"))
    lines: list[str] = []
    live: list[Any] = []
    keys = ["training.decay_fraction=0.5", "training.eval_steps=10", "watch.weights_steps=10"]
    keys += ["watch.tensorboard=true", 'watch.prompts=["abc", "de"]', "watch.sample_tokens=4"]
    run_training(folder / "run.toml", lines.append, keys, live.append)
    return folder, lines, live


def records_of(run: tuple[Path, list[str], list[dict[str, Any]]], kind: str) -> list[Any]:
    return [record for record in read_records(run[0] / "out" / "log.jsonl") if record["kind"] == kind]


def test_the_log_has_what_happened_at_each_step(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    first, last = records_of(run, "step")
    assert (first["step"], last["step"]) == (10, 20)
    assert last["loss"] < first["loss"] and last["tokens"] == 20 * 4 * 32
    assert (first["stage"], last["stage"]) == ("constant", "decay")
    assert (first["weight_decay"], last["weight_decay"]) == (0.1, 0.0)
    assert last["factor"] == pytest.approx(0.1) and last["seconds_left"] == 0
    assert 0 < last["peak_share"] and last["tokens_per_second"] > 0
    assert [(record["step"], record["stage"]) for record in records_of(run, "stage")] == [
        (4, "constant"),
        (11, "decay"),
    ]
    assert [record["step"] for record in records_of(run, "valid")] == [10, 20]
    assert [record["step"] for record in records_of(run, "checkpoint")] == [20]


def test_the_log_counts_codes_flips_and_scales_by_matrix(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    begin, middle, _ = records_of(run, "weights")
    assert len(begin["matrices"]) == 14 and (begin["over"], middle["over"]) == (0, 10)
    for matrix in middle["matrices"].values():
        assert matrix["negative"] + matrix["zero"] + matrix["positive"] == pytest.approx(1)
        assert 0.2 < matrix["zero"] < 0.45 and 0 < matrix["flips"] < 0.5 and matrix["scale"] > 0
    assert begin["matrices"]["blk.0.attn_q"]["flips"] is None


def test_samples_begin_with_the_prompts_and_are_the_same_for_the_same_weights(
    run: tuple[Path, list[str], list[dict[str, Any]]],
) -> None:
    samples = records_of(run, "sample")
    assert [(sample["step"], sample["prompt"]) for sample in samples] == [
        (10, "abc"),
        (10, "de"),
        (20, "abc"),
        (20, "de"),
    ]
    again: list[str] = []
    keys = ["training.decay_fraction=0.5", "training.eval_steps=10", 'watch.prompts=["abc", "de"]']
    run_training(run[0] / "run.toml", again.append, [*keys, "watch.sample_tokens=4", "output=again"])
    assert [line for line in again if " sample " in line] == [line for line in run[1] if " sample " in line]


def test_lines_for_people_follow_the_log(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    text = "\n".join(run[1])
    for part in (
        "step 4 ends a stage; the next is: constant",
        "of peak)",
        "step 20 valid ",
        " bits per byte",
        "step 20 sample 'abc",
        "flips",
    ):
        assert part in text
    assert duration(0.4) == "0 s" and duration(3725) == "1 h 2 min" and duration(90000) == "1 d 1 h"


def test_a_live_line_is_written_over_and_leaves_the_lines_alone(
    run: tuple[Path, list[str], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [record["step"] for record in run[2]] == list(range(1, 21))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("COLUMNS", "40")
    line = LiveLine()
    line.show(run[2][0])
    line.say("\x1b[2Jto stay")
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert shown.startswith("\r\x1b[Kstep 1 loss ") and shown.endswith("\r\x1b[K␛[2Jto stay\n")
    assert len(shown.split("\r\x1b[K")[1]) <= 39


def test_plots_and_tensorboard_are_written(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    pytest.importorskip("matplotlib")
    path = plot_run(run[0] / "out")
    assert path.read_bytes().startswith(b"\x89PNG") and path == plot_run(run[0] / "out" / "log.jsonl")
    (events,) = (run[0] / "out" / "tensorboard").iterdir()
    data = events.read_bytes()
    for tag in (b"step/loss", b"valid/bits_per_byte", b"flips/blk.1.ffn_down", b"sample/text"):
        assert tag in data


def test_a_log_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"log\.jsonl cannot be read"):
        plot_run(tmp_path)
    (tmp_path / "log.jsonl").write_text('[1]\n{"step": 1}\n\xff')
    with pytest.raises(FormatError, match="no line of it is a record"):
        plot_run(tmp_path)
    for record in ('{"kind": "weights", "step": 1}', '{"kind": "step", "step": 1, "loss": "1"}\n' * 2):
        (tmp_path / "log.jsonl").write_text(record + '\n{"kind": "stage", "step": 1}')
        with pytest.raises(FormatError, match="not those of a training run"):
            plot_run(tmp_path)


def test_flips_are_the_share_of_codes_that_changed() -> None:
    layer = BitLinear(128, 64, 0.1)
    watch = WeightWatch(torch.nn.ModuleDict({"layer": layer}))
    assert watch()["layer"]["flips"] is None
    assert watch()["layer"]["flips"] == 0
    with torch.no_grad():
        layer.weight[:16] *= -1
    zeros = watch()["layer"]
    share = (layer.values()[:16] != 0).float().mean().item() / 4
    assert zeros["flips"] == pytest.approx(share)
    floats = BitLinear(128, 64, 0.1, Quantization("float", activations="float"))
    assert WeightWatch(torch.nn.ModuleDict({"layer": floats}))() == {}


def test_operations_are_counted_as_in_palm_and_the_peak_is_measured(tmp_path: Path) -> None:
    config = load_preset(tmp_path, "bitnet-700m").model.model_config()
    layers = 24 * (4 * 1536**2 + 3 * 1536 * 4096)
    assert flops_per_token(config) == 6 * (layers + 32000 * 1536) + 12 * 24 * 1536 * 2048
    assert peak_flops(torch.device("cpu"), "fp32") > 1e7


PRESET = 'preset = "{name}"\nname = "x"\noutput = "o"\n[data]\ntrain = ["corpus.txt"]\nvalid = ["corpus.txt"]\n'


def load_preset(folder: Path, name: str, *keys: str) -> RunConfig:
    """A config that names a preset, and says no more than it must."""
    (folder / "run.toml").write_text(PRESET.format(name=name))
    return load_config(folder / "run.toml", keys)


def test_every_preset_is_a_run_whose_numbers_have_sources(tmp_path: Path) -> None:
    assert {"bitnet-700m", "bitnet-1.3b", "bitnet-3b", "bitnet-3.9b", "small"} <= set(preset_names())
    assert [line.split()[0] for line in describe_presets()] == preset_names()
    folder = Path(sys.modules["sterna.train.presets"].__file__ or "").parent
    for name in preset_names():
        assert load_preset(tmp_path, name).training.steps > 0
        for line in (folder / f"{name}.toml").read_text().splitlines():
            assert "=" not in line or line.startswith("#") or "# " in line, line


def test_keys_of_the_file_and_overrides_count_before_a_preset(tmp_path: Path) -> None:
    config = load_preset(tmp_path, "bitnet-1.3b", "training.learning_rate=1e-4", "model.num_layers=2")
    assert (config.training.learning_rate, config.model.num_layers) == (1e-4, 2)
    assert (config.training.second_learning_rate, config.model.hidden_size) == (8e-4, 2048)
    assert load_preset(tmp_path, "small", "preset=bitnet-3b").model.hidden_size == 3200
    with pytest.raises(ArgumentError, match=r"preset must be one of .*, not 'bitnet-125m'\.$"):
        load_preset(tmp_path, "bitnet-125m")


TRAINING = TrainingSection(
    steps=100, batch_size=1, learning_rate=2.0, embedding_learning_rate=1.0, warmup_steps=10, schedule="linear"
)


def test_two_stages_drop_the_rate_to_the_line_of_the_lower_peak_and_end_weight_decay() -> None:
    training = replace(TRAINING, second_stage=0.5, second_learning_rate=1.0)
    assert [learning_rate_factor(step, training) for step in (4, 49, 50, 99)] == pytest.approx([0.5, 0.51, 0.25, 0.005])
    assert [weight_decay(step, training) for step in (0, 49, 50, 99)] == [0.1, 0.1, 0.0, 0.0]
    assert stages(training) == [(0, "warm-up"), (9, "first stage"), (50, "second stage")]
    cosine = replace(TRAINING, schedule="cosine")
    assert [learning_rate_factor(step, cosine) for step in (25, 50, 75)] == pytest.approx(
        [0.853553, 0.5, 0.146447], rel=1e-5
    )
    assert weight_decay(99, cosine) == 0.1 and stages(cosine) == [(0, "warm-up"), (9, "cosine")]
    wsd = replace(TRAINING, schedule="wsd", warmup_steps=0)
    assert stages(wsd) == [(0, "constant"), (81, "decay")]


def test_a_dry_run_estimates_time_and_disk(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    config = run[0] / "run.toml"
    fresh = "\n".join(describe(plan_training(config, ["output=fresh"])))
    assert "very roughly" in fresh and "for states, " in fresh and "begins anew" in fresh
    known = "\n".join(describe(plan_training(config, ["training.steps=40"]).continued()))
    assert "tokens/s of its log" in known and "resumes after step 20" in known
    assert "training.steps 20 -> 40" in known
    untied = "\n".join(describe(plan_training(config, ["output=fresh", "model.tied_head=false"])))
    assert "The run's export will be refused: This model has a head of its own" in untied
    assert not (run[0] / "fresh").exists()


def test_the_dry_run_of_a_preset_names_its_parameters(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "run.toml").write_text(PRESET.format(name="bitnet-700m"))
    lines = describe(plan_training(tmp_path / "run.toml"))
    assert lines[0].startswith("model:  bitnet, 728,839,680 parameters, 679,477,248 of them ternary; activations int8")
    assert "99,999,547,392 in all" in lines[2]


def test_trained_architectures_have_a_gguf_name_of_their_own() -> None:
    assert all(name in ARCHITECTURES[name].gguf for name in TRAINED)


def test_the_records_are_json_without_numbers_that_are_none(run: tuple[Path, list[str], list[dict[str, Any]]]) -> None:
    for line in (run[0] / "out" / "log.jsonl").read_text().splitlines():
        assert json.loads(line, parse_constant=lambda name: pytest.fail(name))["step"] >= 0
