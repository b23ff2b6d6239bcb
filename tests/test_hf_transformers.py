"""Folders that `transformers` runs are the same models when Sterna reads them and the oracle runs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.model.operations import Norm  # noqa: E402
from sterna.model.oracle import Oracle  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402

from . import helpers  # noqa: E402
from .hf_folders import quantization, random_model, save  # noqa: E402

TOKENS = np.random.default_rng(5).integers(0, 160, 100).tolist()
AUTO, DIVIDE = {"linear_class": "autobitlinear", "quantization_mode": "offline"}, {"linear_class": "bitlinear"}
ONLINE = {"linear_class": "autobitlinear", "quantization_mode": "online"}
CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any] | None, bool]] = {
    "bitnet autobitlinear packed": ("BitNetForCausalLM", "grouped", {}, AUTO, True),
    "bitnet autobitlinear online": ("BitNetForCausalLM", "one-kv", {"tie_word_embeddings": True}, ONLINE, False),
    "bitnet bitlinear packed": ("BitNetForCausalLM", "all-kv", {"tie_word_embeddings": True}, DIVIDE, True),
    "bitnet no class packed": ("BitNetForCausalLM", "one-kv", {}, {}, True),
    "bitnet silu": ("BitNetForCausalLM", "grouped", {"hidden_act": "silu"}, AUTO, True),
    "llama autobitlinear packed": ("LlamaForCausalLM", "all-kv", {}, AUTO, True),
    "llama autobitlinear online": ("LlamaForCausalLM", "grouped", {"tie_word_embeddings": True}, ONLINE, False),
    "llama bitlinear packed": ("LlamaForCausalLM", "one-kv", {}, DIVIDE, True),
    "llama no class packed": ("LlamaForCausalLM", "grouped", {"head_dim": 32}, {}, True),
    "bitnet input norms": ("BitNetForCausalLM", "grouped", {}, ONLINE | {"use_rms_norm": True}, False),
    "llama input norms": ("LlamaForCausalLM", "grouped", {}, ONLINE | {"use_rms_norm": True}, False),
    "llama some float": (
        "LlamaForCausalLM",
        "grouped",
        {},
        ONLINE | {"modules_to_not_convert": ["lm_head", "o_proj"]},
        False,
    ),
    "llama float": ("LlamaForCausalLM", "grouped", {}, None, False),
}


@pytest.fixture(autouse=True)
def eager() -> Iterator[None]:
    """Turns compilation off, because transformers' unpacking would start a C++ compiler."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


def run_layer(model: Any, index: int, x: np.ndarray) -> np.ndarray:
    """One layer of a transformers model over hidden rows [n, hidden]."""
    rows = torch.from_numpy(x)[None]
    positions = torch.arange(len(x))[None]
    mask = torch.full((1, 1, len(x), len(x)), -torch.inf).triu(1)
    with torch.no_grad():
        angles = model.model.rotary_emb(rows, positions)
        out = model.model.layers[index](rows, attention_mask=mask, position_embeddings=angles, position_ids=positions)
    return out[0].numpy()


def residual_states(oracle: Oracle) -> list[np.ndarray]:
    """The hidden rows before each layer, and after the last."""
    fronts = re.compile(r"blk\.\d+\.attn_norm\.weight|output_norm\.weight")
    return [
        step.inputs[step.operation.x]
        for step in oracle.steps(TOKENS)
        if isinstance(step.operation, Norm) and fronts.fullmatch(step.operation.weight)
    ]


@pytest.mark.parametrize("case", CASES)
def test_oracle_agrees_with_transformers(tmp_path: Path, case: str) -> None:
    architecture, shape, keys, section, packed = CASES[case]
    section = None if section is None else quantization(**section)
    save(tmp_path, random_model(architecture, shape, **keys), section, packed)

    checkpoint = open_checkpoint(tmp_path).load()
    encodings = {t.encoding for name, t in checkpoint.tensors.items() if "attn_q.w" in name or "ffn_up.w" in name}
    assert encodings == ({Encoding.F32} if section is None else {Encoding.I2_S})
    # transformers keeps K and V in float32 here. In float16, more int8 codes are rounded the other way.
    model_in_f32 = helpers.oracle(checkpoint, kv_dtype=np.float32)
    ours, states = model_in_f32.logits(TOKENS), residual_states(model_in_f32)
    rounded = helpers.oracle(checkpoint).logits(TOKENS)

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model(torch.tensor([TOKENS])).logits[0].numpy()
    assert helpers.top1_matches(theirs, ours).mean() >= 0.97
    differing = ~helpers.top1_matches(theirs, rounded)
    assert differing.mean() <= 0.1 and np.all(helpers.top1_margin(theirs)[differing] < 0.15 * theirs.std())

    engine = LLM(tmp_path).logits(TOKENS)
    differing = ~helpers.top1_matches(theirs, engine)
    assert differing.mean() <= 0.1 and np.all(helpers.top1_margin(theirs)[differing] < 0.15 * theirs.std())
    assert helpers.mean_kl(rounded, engine) < 1e-3

    for index in range(checkpoint.config.num_layers):
        reference = run_layer(model, index, states[index])
        errors = np.abs(reference - states[index + 1]).max(axis=1) / np.abs(reference).max()
        # A value on the edge between two int8 codes changes its token's row and, through K and V, later rows.
        assert np.mean(errors < 1e-3) >= 0.75 and np.median(errors) < 1e-4 and errors.max() < 5e-2
