"""The check that a loaded model computes what it should."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine import devices
from sterna.engine.known_answer import check_answers
from sterna.engine.native import NativeBackend
from sterna.errors import FormatError, ModelWarning, UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor


def embedded() -> LoadedCheckpoint:
    return open_checkpoint(EMBEDDED_MODEL).load()


def changed(checkpoint: LoadedCheckpoint, tensors: Mapping[str, Tensor]) -> LoadedCheckpoint:
    return replace(checkpoint, tensors={**checkpoint.tensors, **tensors})


def test_a_good_model_passes_in_silence() -> None:
    with LLM(threads=1) as llm, warnings.catch_warnings():
        warnings.simplefilter("error")
        check_answers(llm)


def test_scales_that_overflow_are_found() -> None:
    checkpoint = embedded()
    norm = checkpoint.tensors["output_norm.weight"]
    huge = np.full(norm.shape, 3e38, np.float32)
    with LLM(changed(checkpoint, {norm.name: replace(norm, data=huge.view(np.uint8))}), threads=1) as llm:
        with pytest.raises(FormatError, match="not finite"):
            check_answers(llm)


def test_an_embedding_of_equal_rows_is_found() -> None:
    checkpoint = embedded()
    embedding = checkpoint.tensors["token_embd.weight"]
    values = np.ones(embedding.shape, np.float32)
    flat = Tensor(embedding.name, embedding.shape, Encoding.F32, values.reshape(-1).view(np.uint8))
    with LLM(changed(checkpoint, {embedding.name: flat}), threads=1) as llm:
        with pytest.raises(FormatError, match="the same for every token"):
            check_answers(llm)


def test_shuffled_weights_are_warned_of() -> None:
    """As a file whose layout is not what was believed: a random order of the embedding's rows."""
    checkpoint = embedded()
    embedding = checkpoint.tensors["token_embd.weight"]
    rows = embedding.data.reshape(embedding.shape[0], -1)
    mixed = np.ascontiguousarray(rows[np.random.default_rng(0).permutation(len(rows))]).reshape(-1)
    with LLM(changed(checkpoint, {embedding.name: replace(embedding, data=mixed)}), threads=1) as llm:
        with pytest.warns(ModelWarning, match="less about plain English than chance"):
            check_answers(llm)


@pytest.mark.parametrize("wrong", [0.0, np.nan, 1e3])
def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch, wrong: float) -> None:
    class Wrong(NativeBackend):
        def forward(self, spans: list) -> np.ndarray:  # type: ignore[override, type-arg]
            return super().forward(spans) * (1.0 if self.isa == "scalar" else wrong)

    with LLM(threads=1) as llm:
        if llm.isa == "scalar":
            pytest.skip("This machine has scalar kernels alone.")
        monkeypatch.setattr(devices, "NativeBackend", Wrong)
        with pytest.raises(UnsupportedError, match="otherwise than the scalar ones"):
            check_answers(llm)
