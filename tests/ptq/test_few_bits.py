"""Methods of one and two bits a weight, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.errors import OptionError
from sterna.ptq.run import Report, quantize
from sterna.ptq.settings import Settings
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding

from .models import float_model, text

MATRIX = "blk.1.ffn_down.weight"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return float_model(tmp_path_factory.mktemp("ptq") / "float")


def run(model: Path, dst: Path, method: str, bits: int, format: str | None = None, group_size: int = 128) -> Report:
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
