"""Files that Sterna writes, loaded and run by llama.cpp; CONTRIBUTING.md says how to install it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.files.gguf import write_gguf
from sterna.model.tokenizer import Tokenizer

from . import helpers
from .tiny_vocabularies import byte_level_json

pytestmark = pytest.mark.slow
llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_layers": 3,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 64,
}
BITNET = replace(helpers.TINY, architecture="bitnet", activation="silu", **SHAPE)
LLAMA = replace(
    helpers.TINY, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False, **SHAPE
)


@pytest.fixture(scope="module", params=[BITNET, LLAMA], ids=["bitnet", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with a tokenizer, as a packed Hugging Face folder: q and k are half-split in it."""
    path = tmp_path_factory.mktemp("models")
    (path / "tokenizer.json").write_text(byte_level_json())
    metadata = helpers.gguf_metadata(request.param) | Tokenizer(path / "tokenizer.json").gguf_metadata()
    tensors = helpers.tiny_tensors(request.param, seed=7)
    for name in ("token_embd.weight", "output.weight"):
        if name in tensors:
            values = np.random.default_rng(8).standard_normal(tensors[name].shape) * 0.5
            tensors[name] = helpers.float_tensor(name, values)
    write_gguf(path / "model.gguf", metadata, tensors.values())
    return convert(path / "model.gguf", path / "folder", verify=True).path


def their_logits(path: Path) -> np.ndarray:
    """Logits [48, vocab] of one causal pass in llama.cpp."""
    model = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, logits_all=True, verbose=False)
    model.eval(helpers.TOKENS)
    return np.array(model.scores[: len(helpers.TOKENS)])


@pytest.mark.parametrize(
    ("kind", "activations", "largest"),
    [
        ("f16", "float", 1e-3),
        ("q8_0", "float", 1e-2),
        ("tq1_0", "int8", 5e-2),
        ("tq2_0", "int8", 5e-2),
    ],
)
def test_llama_cpp_gives_our_logits(folder: Path, tmp_path: Path, kind: str, activations: str, largest: float) -> None:
    path = convert(folder, tmp_path / "m.gguf", type=kind, head="f16", verify=True).path
    ours = LLM(path, activations=activations).logits(helpers.TOKENS)
    theirs = their_logits(path)
    assert helpers.mean_kl(theirs, ours) < largest
    differing = ~helpers.top1_matches(theirs, ours)
    assert differing.mean() <= 0.1 and np.all(helpers.top1_margin(theirs)[differing] < 0.15 * theirs.std())


def test_llama_cpp_reads_split_files_and_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    files = convert(folder, tmp_path / "m.gguf", type="f16", split_bytes=1 << 20).files
    assert len(files) > 2
    model = llama_cpp.Llama(str(files[0]), n_ctx=64, n_threads=1, verbose=False)
    tokenizer = Tokenizer(folder)
    for text in ("It was a dark and stormy night; doesn't it? 1234", "für Äpfel\n\n 🦙"):
        assert model.tokenize(text.encode(), add_bos=True) == tokenizer.encode(text)
    assert open_checkpoint(folder).load().config.vocab_size == model.n_vocab()
