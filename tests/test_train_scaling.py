"""The scaling study of the examples, in small."""

from __future__ import annotations

import json
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
    runs = json.loads((tmp_path / "scaling.json").read_text())
    assert len(runs) == 9 and {tuple(run["tokens"]) for run in runs} == {(32, 64)}
    assert sorted({run["parameters"] for run in runs}) == [425984, 1703936, 3407872]
    assert all(0 < loss < 8 for run in runs for loss in run["bits_per_byte"])
    assert (tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("above float") == 6
