"""The scaling study of the examples, in small."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from .test_train_run import one_thread  # noqa: E402, F401

SCRIPT = Path(__file__).parents[1] / "examples" / "scaling.py"


def test_a_study_compares_three_sizes_and_three_kinds_of_weights_at_equal_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path), "--quick"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    with (tmp_path / "scaling.csv").open() as file:
        lines = list(csv.DictReader(file))
    runs: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        runs.setdefault((line["size"], line["weights"]), []).append(line["tokens"])
    assert len(runs) == 9 and all(tokens == ["32", "64"] for tokens in runs.values())
    assert sorted({int(line["parameters"]) for line in lines}) == [425984, 851968, 1703936]
    assert all(0 < float(line["bits_per_byte"]) < 8 for line in lines)
    for line in lines:
        base = next(
            float(other["bits_per_byte"])
            for other in lines
            if (other["size"], other["weights"], other["tokens"]) == (line["size"], "float", line["tokens"])
        )
        assert float(line["above_float"]) == pytest.approx(float(line["bits_per_byte"]) / base - 1, abs=2e-4)
    picture = (tmp_path / "scaling.svg").read_text()
    assert "<svg" in picture and "arXiv 2402.17764" in picture
    assert capsys.readouterr().out.count("above float") == 6
