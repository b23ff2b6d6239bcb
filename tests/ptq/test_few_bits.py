"""Methods of one and two bits a weight, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sterna.checkpoint import open_checkpoint
from sterna.errors import OptionError
from sterna.ptq import littlebit
from sterna.ptq.aqlm import additive
from sterna.ptq.learning import Learning
from sterna.ptq.littlebit import LITTLEBIT, rank_of
from sterna.ptq.run import Report, quantize
from sterna.ptq.settings import Settings
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding

from .models import float_model, text

MATRIX = "blk.1.ffn_down.weight"
ROWS, COLUMNS = 4096, 11008


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return float_model(tmp_path_factory.mktemp("ptq") / "float")


def run(model: Path, dst: Path, method: str, bits: float, format: str | None = None, group_size: int = 128) -> Report:
    settings = Settings(method, bits, group_size, samples=8, length=32)
    return quantize(model, dst, settings, [text(dst.parent)], format)


def matrix(path: Path, name: str = MATRIX) -> np.ndarray:
    return decode(open_checkpoint(path).load().tensors[name])


@pytest.mark.parametrize("name", ["folder", "model.gguf"])
def test_signs_keep_their_mean_magnitude(tmp_path: Path, model: Path, name: str) -> None:
    report = run(model, tmp_path / name, "sign", 1)
    overhead = 32 if report.format == "mlx" else 16  # bits of a group's scales and biases
    assert report.bits_per_weight == pytest.approx(1 + overhead / 128)
    assert open_checkpoint(tmp_path / name).tensors[MATRIX].encoding is Encoding.Q1_0
    before, after = (matrix(path).reshape(-1, 128) for path in (model, tmp_path / name))
    np.testing.assert_allclose(after, np.where(before >= 0, 1, -1) * np.abs(before).mean(1, keepdims=True), rtol=1e-3)
    error = np.linalg.norm(before - after) / np.linalg.norm(before)
    assert error == pytest.approx(np.sqrt(1 - 2 / np.pi), rel=0.02)  # of Gaussian weights


def test_ggufs_signs_come_in_groups_of_128(tmp_path: Path, model: Path) -> None:
    run(model, tmp_path / "folder", "sign", 1, group_size=64)
    assert matrix(tmp_path / "folder").shape == matrix(model).shape
    with pytest.raises(OptionError, match="is 128 for signs"):
        run(model, tmp_path / "m.gguf", "sign", 1, group_size=64)


@pytest.mark.slow
def test_codebooks_are_far_better_than_rounding_to_two_bits(tmp_path: Path, model: Path) -> None:
    report = run(model, tmp_path / "folder", "aqlm", 2)
    assert all(layer.error < 0.5 * layer.rtn_error for layer in report.layers)
    assert matrix(tmp_path / "folder").shape == matrix(model).shape
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["quantization_config"]["num_codebooks"] == 2


def test_codebooks_need_no_groups(tmp_path: Path) -> None:
    model = float_model(tmp_path / "float", layers=1, hidden=96)
    report = run(model, tmp_path / "folder", "aqlm", 1)
    assert report.layers[0].error < report.layers[0].rtn_error


def test_the_search_lowers_the_error_of_outputs() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 256, generator=draw)
    inputs = torch.randn(512, 256, generator=draw) * torch.exp(torch.randn(256, generator=draw))
    gram = inputs.T @ inputs / len(inputs)
    plain, seen = (additive(weight, matrix, 1, draw) for matrix in (torch.eye(256), gram))
    errors = [float((inputs @ (weight - torch.from_numpy(each.values())).T).norm()) for each in (plain, seen)]
    assert errors[1] < 0.8 * errors[0]
    assert seen.codes.shape == (64, 32, 1) and np.array_equal(seen.scales, seen.scales.astype(np.float16))


def test_products_of_signs_keep_to_their_bits_and_learn(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run(model, tmp_path / "folder", "littlebit", 1)
    assert report.bits_per_weight < 1.5  # the ranks of so small matrices are 8, and their shapes count
    monkeypatch.setattr(Learning, "stage", lambda *arguments: None)
    unlearned = run(model, tmp_path / "other", "littlebit", 1)
    assert matrix(tmp_path / "folder").shape == matrix(model).shape
    assert report.layers[0].error < unlearned.layers[0].error


@pytest.mark.parametrize("bits", LITTLEBIT.bits)
def test_ranks_are_the_largest_that_keep_to_the_bits(bits: float) -> None:
    def used(rank: int) -> float:
        return 2 * (rank * (ROWS + COLUMNS) + 16 * (ROWS + COLUMNS + rank)) / (ROWS * COLUMNS)

    rank = rank_of(ROWS, COLUMNS, bits)
    assert rank % 8 == 0 and used(rank) <= bits < used(rank + 8)
    assert rank_of(64, 64, bits) == 8  # the least


def test_less_than_a_bit_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learning, "stage", lambda *arguments: None)
    monkeypatch.setattr(littlebit, "SCALE_BITS", 0)  # whose share of so small matrices is large
    model = float_model(tmp_path / "float", layers=1)
    with pytest.raises(OptionError, match=r"one of 1, 0\.8, 0\.7, 0\.55"):
        run(model, tmp_path / "none", "littlebit", 0.5)
    reports = [run(model, tmp_path / str(bits), "littlebit", bits) for bits in (1, 0.55)]
    assert reports[1].bits_per_weight < 0.7 * reports[0].bits_per_weight
    config = json.loads((tmp_path / "0.55" / "config.json").read_text())
    assert config["eff_bit"] == reports[1].bits == 0.55
