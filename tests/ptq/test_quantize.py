"""`sterna quantize` on a tiny model: every method and format opens again, and a run that was broken off goes on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sterna import LLM, Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, FormatError, ModelWarning, OptionError, UnsupportedError
from sterna.model.config import ModelConfig
from sterna.ptq.layers import Source
from sterna.ptq.methods import METHODS, default_bits
from sterna.ptq.output import FORMATS
from sterna.ptq.run import LayerReport, Report, half, quantize
from sterna.ptq.settings import Settings
from sterna.tensor.decode import decode

from .. import helpers
from .models import TEXT, float_model, text

SMALL = {"samples": 8, "length": 32, "epochs": 3}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def logits(model: Path) -> np.ndarray:
    with LLM(model, activations="float", kv="f32", threads=1) as llm:
        return llm.logits(Tokenizer(model).encode(TEXT)[:40])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return float_model(tmp_path_factory.mktemp("ptq") / "float")


def run(model: Path, dst: Path, method: str, format: str | None = None, **keys: object) -> Report:
    settings = Settings(method, **{**SMALL, **keys})  # type: ignore[arg-type]
    return quantize(model, dst, settings, [text(dst.parent)], format)


@pytest.mark.parametrize(
    ("method", "format"),
    [
        (name, form)
        for name, method in METHODS.items()
        for form in method.formats
        if form in FORMATS and 4 in method.bits and method.in_groups
    ],
)
def test_every_format_of_a_method_runs(tmp_path: Path, model: Path, method: str, format: str) -> None:
    dst = tmp_path / ("model.gguf" if format == "gguf" else "folder")
    report = run(model, dst, method, format)
    assert report.format == format and len(report.layers) == 2 and not dst.with_name(f"{dst.name}.unfinished").exists()
    expected = logits(model)
    assert np.linalg.norm(logits(dst) - expected) < 0.7 * np.linalg.norm(expected)  # noise would give 1.4
    assert 4 < report.bits_per_weight < 6
    assert all(layer.error < 1.1 * layer.rtn_error for layer in report.layers)
    assert report.calibration["text"] == [str(tmp_path / "text.txt")]


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_other_widths(tmp_path: Path, model: Path, bits: int) -> None:
    report = run(model, tmp_path / "out", "rtn", "mlx", bits=bits, group_size=32)
    assert bits + 1 == pytest.approx(report.bits_per_weight)
    error = np.linalg.norm(logits(tmp_path / "out") - logits(model)) / np.linalg.norm(logits(model))
    assert error < {2: 1.5, 3: 0.9, 8: 0.04}[bits]


def test_a_run_that_was_broken_off_goes_on_to_the_same_files(tmp_path: Path, model: Path) -> None:
    (tmp_path / "other").mkdir()
    run(model, tmp_path / "other" / "out", "rtn")
    text(tmp_path)
    settings, seen = Settings("rtn", **SMALL), []  # type: ignore[arg-type]

    def stop(layer: LayerReport, count: int) -> None:
        seen.append(layer.layer)
        if len(seen) == 1:
            raise KeyboardInterrupt

    paths = [tmp_path / "other" / "text.txt"]
    with pytest.raises(KeyboardInterrupt):
        quantize(model, tmp_path / "out", settings, paths, told=stop)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ArgumentError, match="unfinished run with other settings"):
        quantize(model, tmp_path / "out", Settings("rtn", bits=8, **SMALL), paths)  # type: ignore[arg-type]
    quantize(model, tmp_path / "out", settings, paths, told=stop)
    assert seen == [0, 1] and files(tmp_path / "out") == files(tmp_path / "other" / "out")


def started(model: Path, dst: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sterna", "quantize", str(model), str(dst), "--samples", "8", "--length", "32"]
    return subprocess.Popen([*command, *flags], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def killed(process: subprocess.Popen[bytes], there: Callable[[], bool], delay: float = 0) -> bool:
    """Whether the process was still running when it was killed, `delay` seconds after something was there."""
    while process.poll() is None and not there():
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def test_a_run_that_is_killed_twice_gives_the_same_files(tmp_path: Path, model: Path) -> None:
    flags = "--method", "gptq", "--calibration", str(text(tmp_path))
    dst = tmp_path / "out"
    record = tmp_path / "out.unfinished"
    for name in ("job.json", "layer-00000.safetensors"):
        killed(started(model, dst, *flags), (record / name).exists)
        assert (record / name).exists() and not dst.exists()
    settings = Settings("gptq", samples=8, length=32)
    for path in (dst, tmp_path / "whole"):
        quantize(model, path, settings, [tmp_path / "text.txt"])
    assert files(dst) == files(tmp_path / "whole") and not record.exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gptq", "paroquant"])
def test_a_run_that_is_killed_ten_times_gives_the_same_files(tmp_path: Path, method: str) -> None:
    model, rng = float_model(tmp_path / "float", layers=10), random.Random(1)
    flags = "--method", method, "--epochs", "1", "--calibration", str(text(tmp_path))
    assert started(model, tmp_path / "whole", *flags).wait() == 0
    dst, record = tmp_path / "out", tmp_path / "out.unfinished"

    def finished() -> int:
        return len(list(record.glob("layer-*")))

    def reached(least: int) -> bool:
        return finished() >= least

    for _ in range(10):
        target = finished() + rng.randrange(2)  # in the layer after this many
        assert killed(started(model, dst, *flags), partial(reached, target), rng.uniform(0, 0.1))
    assert started(model, dst, *flags).wait() == 0
    assert files(dst) == files(tmp_path / "whole")


def test_the_text_of_the_package_is_named(tmp_path: Path, model: Path) -> None:
    report = quantize(model, tmp_path / "out", Settings("rtn", **SMALL))  # type: ignore[arg-type]
    assert report.calibration["text"] == ["sterna-novels"]
    kept = json.loads((tmp_path / "out" / "config.json").read_text())["sterna"]
    assert kept["calibration"] == report.calibration and kept["method"] == "rtn"


@pytest.mark.parametrize(
    ("name", "format", "base"), [("q.gguf", "gguf", "Q4_1"), ("q", "gptq", "gptq"), ("q", "mlx", "mlx")]
)
def test_a_base_that_is_quantised_already_is_named(
    tmp_path: Path, model: Path, name: str, format: str, base: str
) -> None:
    assert run(model, tmp_path / name, "rtn", format).base == ""
    with pytest.warns(ModelWarning, match=rf"is quantised already \({base}\): errors are measured against it"):
        report = run(tmp_path / name, tmp_path / "out", "rtn")
    assert report.base == base
    assert json.loads((tmp_path / "out" / "config.json").read_text())["sterna"]["base"] == base


def test_what_cannot_be_is_said_before_any_work(tmp_path: Path, model: Path) -> None:
    refusals = [
        (Settings("rtn", bits=5), "out", None, OptionError, "bits"),
        (Settings("rtn", bits=3), "out", "awq", OptionError, "awq has no 3 bits"),
        (Settings("none"), "out", None, OptionError, "rtn"),
        (Settings("rtn", device="toaster"), "out", None, OptionError, "PyTorch cannot use it here: Expected"),
        (Settings("paroquant", symmetric=True), "out", None, OptionError, "zero points"),
        (Settings("paroquant", pairing="none"), "out", None, OptionError, "tournament"),
        (Settings("quip"), "out", None, UnsupportedError, "QuIP# is no method here"),
        (Settings("onebit"), "out", None, UnsupportedError, "OneBit is no method here"),
        (Settings("rtn"), "out.gguf", "awq", ArgumentError, r"only GGUF files end in \.gguf"),
        (Settings("rtn", bits=8), "out.gguf", None, UnsupportedError, "--symmetric"),
        (Settings("rtn", group_size=96), "out", None, UnsupportedError, "--group-size 128"),
    ]
    for settings, name, format, kind, words in refusals:
        with pytest.raises(kind, match=words):
            quantize(model, tmp_path / name, settings, format=format)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "bits", "hidden", "format", "words"),
    [
        ("rtn", 4, 36, "awq", "multiples of 8 rows"),
        ("rtn", 2, 72, "gptq", "multiples of 16 rows"),
        ("aqlm", 2, 36, "aqlm", "multiples of 8 columns"),
    ],
)
def test_shapes_that_a_format_cannot_hold_are_refused_before_any_work(
    tmp_path: Path, method: str, bits: int, hidden: int, format: str, words: str
) -> None:
    narrow = float_model(tmp_path / "model", hidden=hidden)
    settings = Settings(method, bits, group_size=4)
    with pytest.raises(UnsupportedError, match=words):
        quantize(narrow, tmp_path / "out", settings, format=format)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_token_without_an_embedding_is_refused(model: Path) -> None:
    source = Source(half(open_checkpoint(model)), 16, "cpu")
    with pytest.raises(FormatError, match="the embedding has"):
        source.embedded(torch.tensor([[0, 1 << 20]]))


def test_methods_of_one_bit_need_no_bits() -> None:
    assert {name: default_bits(name) for name in ("sign", "littlebit", "gptq", "none")} == {
        "sign": 1,
        "littlebit": 1,
        "gptq": 4,
        "none": 4,
    }


@pytest.mark.parametrize("config", [helpers.GEMMA3, helpers.QWEN35])
def test_layers_of_other_kinds_are_refused(config: ModelConfig) -> None:
    with pytest.raises(UnsupportedError, match="whose layers sterna quantize cannot run"):
        Source(helpers.tiny_checkpoint(config), 16, "cpu")


def test_a_layer_computes_what_the_engine_computes(tmp_path: Path, model: Path) -> None:
    """Embedding, layers and norm in torch, before anything is quantised, from a folder and from a GGUF file, whose q
    and k pair dimensions in another order."""
    convert(model, tmp_path / "model.gguf", type="f32", head="f32")
    tokens = Tokenizer(model).encode(TEXT)[:32]
    for path in (model, tmp_path / "model.gguf"):
        checkpoint = half(open_checkpoint(path))
        source = Source(checkpoint, len(tokens), "cpu")
        flow = source.embedded(torch.tensor([tokens]))
        for index in range(source.config.num_layers):
            flow = source.layer(index, flow, None).forward(flow)
        hidden = F.rms_norm(flow[0], flow.shape[-1:], eps=source.config.rms_norm_eps)
        loaded = checkpoint.load().tensors
        normed = hidden.numpy() * decode(loaded["output_norm.weight"])
        expected = normed @ decode(loaded["token_embd.weight"]).T
        with LLM(path, activations="float", kv="f32", threads=1) as llm:
            assert helpers.relative_error(expected, llm.logits(tokens)) < 1e-4
