"""A tiny training run on a tiny corpus: the loss falls, a resumed run equals the unbroken one, exports agree."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.errors import ArgumentError, FormatError  # noqa: E402
from sterna.evaluate.perplexity import evaluate_text  # noqa: E402
from sterna.model.tokenizer import Tokenizer  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402
from sterna.train.config import load_config  # noqa: E402
from sterna.train.corpus import document_parts  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.plan import plan_training  # noqa: E402
from sterna.train.state import load_state  # noqa: E402
from sterna.train.trainer import DivergedError, TrainingResult, run_training  # noqa: E402

from .helpers import oracle  # noqa: E402

CONFIG = """
name = "tiny"
output = "{output}"
[model]
vocab_size = 384
hidden_size = 128
intermediate_size = 256
num_layers = 2
num_heads = 2
num_kv_heads = 1
context_length = 32
[data]
train = ["corpus.txt"]
valid = ["corpus.txt"]
[training]
steps = {steps}
batch_size = 4
optimizer = "{optimizer}"
learning_rate = 6e-3
embedding_learning_rate = 6e-3
warmup_steps = 5
decay_fraction = 0.0
log_steps = 10
eval_steps = 40
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from two threads, and lose much where another process keeps the cores busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_corpus(folder: Path) -> None:
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 6))) for _ in range(60)]
    lines = [" ".join(rng.choices(words, k=12)) + "." for _ in range(120)]
    (folder / "corpus.txt").write_text("\n".join(lines[:60] + ["<|endoftext|>"] + lines[60:]), encoding="utf-8")


def train(folder: Path, output: str, steps: int, optimizer: str = "adamw") -> tuple[TrainingResult, list[str]]:
    lines: list[str] = []
    config = folder / f"{output}.toml"
    config.write_text(CONFIG.format(output=output, steps=steps, optimizer=optimizer))
    return run_training(config, lines.append), lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[TrainingResult, Decoder, list[float]]:
    """The result of 40 steps, the model with its latent weights, and the losses on the way."""
    result, lines = train(folder, "unbroken", 40)
    config = load_config(folder / "unbroken.toml")
    model = Decoder(config.model.model_config())
    state = folder / "unbroken" / "state.safetensors"
    assert load_state(state, model, None, {"model": asdict(config.model.model_config())}).step == 40
    losses = [float(match[1]) for line in lines if (match := re.match(r"step \d+ loss ([\d.]+)", line))]
    return result, model, losses


def test_loss_falls(trained: tuple[TrainingResult, Decoder, list[float]]) -> None:
    _, _, losses = trained
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.5
    assert losses[-1] < 0.9 * np.log(384)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_run_equals_the_unbroken_one(folder: Path, optimizer: str) -> None:
    train(folder, f"whole-{optimizer}", 12, optimizer)
    train(folder, f"parts-{optimizer}", 5, optimizer)
    train(folder, f"parts-{optimizer}", 12, optimizer)
    whole, parts = (load_file(folder / f"{name}-{optimizer}" / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name


def test_checkpoint_of_another_shape_is_refused(folder: Path) -> None:
    train(folder, "shape", 1)
    other = (folder / "shape.toml").read_text().replace("num_layers = 2", "num_layers = 1")
    (folder / "shape.toml").write_text(other)
    with pytest.raises(FormatError, match="another shape"):
        run_training(folder / "shape.toml", lambda line: None)


def test_checkpoint_of_another_corpus_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    train(tmp_path, "out", 1)
    (tmp_path / "corpus.txt").write_text((tmp_path / "corpus.txt").read_text() + "more")
    with pytest.raises(FormatError, match="other training data"):
        train(tmp_path, "out", 2)


def test_a_loss_that_is_no_number_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    train(tmp_path, "out", 1)
    state = (tmp_path / "out" / "state.safetensors").read_bytes()
    monkeypatch.setattr(Decoder, "forward", lambda self, tokens: self.token_embd(tokens) @ self.token_embd.weight.T / 0)
    with pytest.raises(DivergedError, match="the loss is nan"):
        train(tmp_path, "out", 2)
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == state


def test_damaged_checkpoint_is_refused(folder: Path) -> None:
    train(folder, "damaged", 1)
    state = folder / "damaged" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(FormatError, match="no training state"):
        run_training(folder / "damaged.toml", lambda line: None)


def test_gguf_export_is_the_trained_model(trained: tuple[TrainingResult, Decoder, list[float]]) -> None:
    result, model, _ = trained
    checkpoint = open_checkpoint(result.gguf).load()
    eps = float(np.float32(model.config.rms_norm_eps))  # GGUF keeps it in float32
    assert checkpoint.config == replace(model.config, rms_norm_eps=eps)
    assert checkpoint.metadata["tokenizer.ggml.pre"] == "llama-bpe"
    assert checkpoint.tensors.keys() == model.state_dict().keys()
    tokens = Tokenizer(result.gguf).encode("abc deaf. hedge abba cab")
    with torch.no_grad():
        expected = model(torch.tensor([tokens]))[0].numpy()
    logits = oracle(checkpoint).logits(tokens)
    # Flips of int8 rounding and the F16 embedding make them differ: 5e-3 was measured.
    assert np.abs(logits - expected).max() < 2e-2 * np.abs(expected).max()
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.9


def test_exported_tokenizers_agree(trained: tuple[TrainingResult, Decoder, list[float]]) -> None:
    result, _, _ = trained
    text = "Abba, it's 12345 <|endoftext|> déjà\n\n  vu."
    tokenizers = [Tokenizer(result.gguf), Tokenizer(result.hf)]
    first, second = (tokenizer.encode(text) for tokenizer in tokenizers)
    assert first == second
    assert first[0] == 0 and 0 not in first[1:]
    for tokenizer in tokenizers:
        assert tokenizer.decode(first) == text
        assert 0 in tokenizer.eos_ids


def test_transformers_loads_the_packed_export(trained: tuple[TrainingResult, Decoder, list[float]]) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    result, model, _ = trained
    loaded = transformers.AutoModelForCausalLM.from_pretrained(result.hf, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.hf)
    assert type(loaded).__name__ == "BitNetForCausalLM"
    checkpoint = open_checkpoint(result.hf).load()
    assert checkpoint.config == model.config
    for name, tensor in open_checkpoint(result.gguf).load().tensors.items():
        if tensor.encoding is Encoding.I2_S:
            assert np.array_equal(checkpoint.tensors[name].data, tensor.data)
            assert checkpoint.tensors[name].scale == tensor.scale
    tokens = torch.tensor([tokenizer("abc deaf. hedge abba cab").input_ids])
    assert tokens[0].tolist() == Tokenizer(result.gguf).encode("abc deaf. hedge abba cab")
    with torch.no_grad():
        theirs, ours = loaded(tokens).logits, model(tokens)
    assert (theirs - ours).abs().max() < 2e-2 * ours.abs().max()
    assert (theirs.argmax(-1) == ours.argmax(-1)).float().mean() >= 0.9


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("batch_size = 4", "batch_size = 4\nbatchsize = 4", "Unknown key training.batchsize"),
        ("batch_size = 4", "batch_size = true", "training.batch_size must be of type int, not bool"),
        ("batch_size = 4", 'batch_size = "4"', "training.batch_size must be of type int, not str"),
        ("batch_size = 4", "", "lacks training.batch_size"),
        ("hidden_size = 128", "hidden_size = 96", "a multiple of 128"),
        ("num_kv_heads = 1", "num_kv_heads = 0", "multiple of model.num_kv_heads"),
        ('name = "tiny"', 'name = "../tiny"', "name must consist of"),
        ('optimizer = "adamw"', 'optimizer = "sgd"', "training.optimizer"),
        ('train = ["corpus.txt"]', 'train = "corpus.txt"', "data.train must be a list"),
        ('train = ["corpus.txt"]', 'train = ["absent.txt"]', "Cannot read a corpus file"),
        ("vocab_size = 384", "vocab_size = 60000", "lower it or take more text"),
        ('valid = ["corpus.txt"]', 'valid = ["absent.txt"]', "Cannot read the text file"),
        ('valid = ["corpus.txt"]', 'valid = ["empty.txt"]', "data.valid has no text"),
        ("context_length = 32", "context_length = 1", "model.context_length must be at least 2"),
        ("context_length = 32", "context_length = 32\nrms_norm_eps = 0", "rms_norm_eps is 0"),
        ("context_length = 32", "context_length = 32\nrms_norm_eps = nan", "rms_norm_eps is nan"),
        ("context_length = 32", "context_length = 32\nhead_dim = 0", "head_dim is 0"),
        ("context_length = 32", "context_length = 32\nrope_theta = -1", "rope_theta is -1"),
        ("context_length = 32", f"context_length = 32\nrope_theta = {10**400}", "64 bits"),
        ("learning_rate = 6e-3", "learning_rate = inf", "learning rates must be positive and finite"),
        ("batch_size = 4", 'batch_size = 4\ndevice = "nonsense"', "training.device is 'nonsense'"),
        ("batch_size = 4", 'batch_size = 4\ndevice = "meta"', "training.device is 'meta'"),
        ("batch_size = 4", 'batch_size = 4\ndevice = "cuda:77"', "training.device is 'cuda:77'"),
        ("batch_size = 4", "batch_size = 1_000_000_000_000", "lower it, or raise training.accumulation"),
        ("[model]", "[model", "Cannot read the training config"),
        ("[model]", f"x = {'[' * 5000}", "Cannot read the training config"),
    ],
)
def test_config_errors_are_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    write_corpus(tmp_path)
    text = CONFIG.format(output="out", steps=1, optimizer="adamw")
    assert old in text
    (tmp_path / "empty.txt").touch()
    (tmp_path / "run.toml").write_text(text.replace(old, new))
    with pytest.raises(ArgumentError, match=re.escape(sentence)) as error:
        run_training(tmp_path / "run.toml", lambda line: None)
    assert str(error.value).endswith(".")


def test_a_batch_is_not_measured_where_the_system_does_not_say_what_memory_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path)
    (tmp_path / "run.toml").write_text(CONFIG.format(output="out", steps=1, optimizer="adamw"))
    monkeypatch.setattr("sterna.train.plan.available_memory", lambda: None)
    assert plan_training(tmp_path / "run.toml", ["training.batch_size=1_000_000_000_000"]).step == 0


def test_an_absent_config_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.toml"):
        with pytest.raises(ArgumentError, match="Cannot read the training config"):
            run_training(path, lambda line: None)


def test_engine_gives_the_trainers_own_loss(folder: Path, trained: tuple[TrainingResult, Decoder, list[float]]) -> None:
    result, _, _ = trained
    llm = LLM(result.gguf)
    scores = [evaluate_text(llm, "".join(parts)) for parts in document_parts([folder / "corpus.txt"])]
    engine = sum(score.bits_per_byte * score.bytes for score in scores) / sum(score.bytes for score in scores)
    assert engine == pytest.approx(result.bits_per_byte, rel=0.01)
