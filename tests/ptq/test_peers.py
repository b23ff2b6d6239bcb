"""Models that Sterna wrote, and what gptqmodel and mlx-lm made of them (`tests/data/ptq/README.md`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.files.safetensors.reader import read_safetensors
from sterna.ptq.run import quantize
from sterna.ptq.settings import Settings

from .. import helpers
from .models import float_model, text

DATA = Path(__file__).parents[1] / "data" / "ptq"
WRITTEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gptq": ("gptq", "gptq", {}),
    "gptq-act-order": ("gptq", "gptq", {"act_order": True}),
    "awq": ("awq", "awq", {}),
    "paro": ("paroquant", "paro", {}),
    "mlx-3": ("gptq", "mlx", {"bits": 3}),
    "mlx-4": ("rtn", "mlx", {}),
}
"""Method, format and settings of each."""
TOKENS = list(range(5, 21))


@pytest.mark.parametrize("name", WRITTEN)
def test_others_compute_what_sterna_computes(name: str) -> None:
    expected = np.load(DATA / name / "logits.npy").astype(np.float32)
    with LLM(DATA / name, activations="float", kv="f32", threads=1) as llm:
        got = llm.logits(TOKENS)
    assert helpers.distance(expected, got) < 0.01  # theirs is arithmetic in float16
    assert np.array_equal(expected.argmax(axis=1), got.argmax(axis=1))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_has_the_form_that_others_read(tmp_path: Path, name: str) -> None:
    method, format, more = WRITTEN[name]
    settings = Settings(method, group_size=32, samples=2, length=32, epochs=1, **more)
    quantize(float_model(tmp_path / "float", layers=1, hidden=64), tmp_path / "out", settings, [text(tmp_path)], format)
    made, read = (read_safetensors(folder / "model.safetensors") for folder in (tmp_path / "out", DATA / name))
    assert {key: (part.dtype, part.shape) for key, part in made.items()} == {
        key: (part.dtype, part.shape) for key, part in read.items()
    }
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "out", DATA / name)]
    for key in ("quantization_config", "quantization"):
        assert configs[0].get(key) == configs[1].get(key)
    if method == "rtn":
        assert all(np.array_equal(part.data, read[key].data) for key, part in made.items())
