"""The models of a study: trained by `sterna train` on one text in one order, with float, ternary and binary weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from sterna.errors import ArgumentError, FormatError, NotFoundError
from sterna.files.atomic import atomic_write
from sterna.files.fingerprint import fingerprint
from sterna.study.corpus import training_texts, unseen_texts, write_corpus
from sterna.study.skills import training_lines
from sterna.train.trainer import run_training

CONFIG = """\
name = "{name}"
output = "{name}"
[model]
architecture = "llama"
vocab_size = {vocab}
hidden_size = {hidden}
intermediate_size = {ffn}
num_layers = {layers}
num_heads = {heads}
num_kv_heads = {heads}
context_length = {context}
[data]
train = ["corpus.txt"]
valid = ["valid.txt"]
[quantization]
weights = "{weights}"
[training]
steps = {steps}
batch_size = {batch}
optimizer = "muon"
learning_rate = 8e-3
embedding_learning_rate = 8e-3
warmup_steps = {warmup}
decay_fraction = 0.3
weight_decay = 0.1
seed = {seed}
eval_steps = 1000000
eval_bytes = 20000
[watch]
sample_tokens = 0
"""


@dataclass(frozen=True)
class Size:
    """Shape of the models, and how long they are trained: `steps` of `batch` windows of `context` tokens."""

    vocab: int
    hidden: int
    ffn: int
    layers: int
    heads: int
    context: int
    steps: int
    batch: int
    float_seeds: int
    """How many models of float weights, which differ in the order of their data."""
    items: int
    """Items of each task."""
    samples: int
    """Windows of text that quantisers see."""
    characters: int
    """Of the unseen text, for bits per byte."""
    threads: int
    """Of training and quantising: their number changes the order of sums, and with it the weights."""


FULL = Size(4096, 256, 768, 6, 4, 256, 4900, 16, float_seeds=3, items=1000, samples=32, characters=100_000, threads=2)
"""5.8 million parameters, 20 million tokens."""
SMALL = Size(1024, 128, 384, 3, 2, 128, 6000, 8, float_seeds=1, items=500, samples=16, characters=50_000, threads=1)
"""0.8 million parameters, 6 million tokens."""
QUICK = Size(1024, 128, 256, 2, 2, 64, 40, 8, float_seeds=1, items=40, samples=4, characters=5_000, threads=1)
"""0.5 million parameters, 20 thousand tokens: whether everything runs, in seconds."""
SIZES = {"full": FULL, "small": SMALL, "quick": QUICK}
CORPUS, VALID, CALIBRATION = "corpus.txt", "valid.txt", "calibration.txt"
TEXTS = "texts.json"
"""What the text of a folder is made of: files by their fingerprints, problems by a checksum of the first of them."""
PROBLEMS = 1000
"""Lines of problems that this checksum is of."""
CORPUS_SEED = 1
CHARACTERS_A_TOKEN = 3
VALID_CHARACTERS = 20_000
"""Of the text that training scores at its end; the study scores more of it by itself."""


@dataclass(frozen=True)
class Model:
    """A trained model: its name (`float-0`, `ternary`, `binary`), its file, and the file's SHA-256."""

    name: str
    path: Path
    sha256: str


def names(size: Size) -> list[tuple[str, str, int]]:
    """Name, weights and seed of each model."""
    floats = [(f"float-{seed}", "float", seed) for seed in range(size.float_seeds)]
    return [*floats, ("ternary", "ternary", 0), ("binary", "binary", 0)]


def check_texts(folder: Path, texts: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Raises ArgumentError where the models of the folder are trained on other text, where a file is to be trained on
    and tested on, and for files that cannot be read; FormatError where what the folder says of its text is broken."""
    asked, record = _made_of(texts, held_out), folder / TEXTS
    if set(asked["text"]) & set(asked["held_out"]):
        raise ArgumentError("--text and --held-out name the same text: what is tested must not be trained on.")
    if record.exists() and _recorded(record) != asked:
        raise ArgumentError(
            f"{folder} holds a study of other texts: give the same --text and --held-out, or another --folder."
        )


def _recorded(record: Path) -> object:
    try:
        return json.loads(record.read_bytes())
    except ValueError:
        raise FormatError(f"{record} is no JSON: delete the folder, or name another by --folder.") from None


def _made_of(texts: Sequence[Path], held_out: Sequence[Path]) -> dict[str, list[str]]:
    problems = hashlib.sha256("".join(islice(training_lines(CORPUS_SEED), PROBLEMS)).encode()).hexdigest()
    try:
        return {
            "text": [*map(fingerprint, texts)],
            "held_out": [*map(fingerprint, held_out)],
            "problems": [problems],
        }
    except OSError as error:
        raise ArgumentError(f"{error.filename} cannot be read: {error.strerror}.") from error


def prepare(folder: Path, size: Size, texts: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Writes the text that all models are trained on, the one they are not, and the one that quantisers see, where they
    are not there. `texts`, `held_out`: files of novels; none: the passages that come with Sterna. Raises ArgumentError
    for files that cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TEXTS).exists():
        return
    made_of = _made_of(texts, held_out)
    tokens = size.steps * size.batch * size.context
    write_corpus(folder / CORPUS, lambda: training_texts(texts), CHARACTERS_A_TOKEN * tokens, CORPUS_SEED)
    (folder / VALID).write_text("\n<|endoftext|>\n".join(unseen_texts(held_out))[:VALID_CHARACTERS], encoding="utf-8")
    with open(folder / CORPUS, encoding="utf-8") as corpus:
        beginning = corpus.read(1_000_000)
    (folder / CALIBRATION).write_text(beginning.replace("<|endoftext|>\n", ""), encoding="utf-8")
    with atomic_write(folder / TEXTS) as file:  # the last: with it all of them are there
        file.write(json.dumps(made_of).encode())


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """PyTorch computes on so many threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(folder: Path, size: Size, report: Callable[[str], None]) -> None:
    """Trains the models that are not there; a run that was interrupted goes on."""
    for name, weights, seed in names(size):
        if not path_of(folder, name).exists():
            config = folder / f"{name}.toml"
            warmup = max(1, size.steps // 20)
            values = vars(size) | {"name": name, "weights": weights, "seed": seed, "warmup": warmup}
            config.write_text(CONFIG.format(**values), encoding="utf-8")
            run_training(config, report)


def found(folder: Path, size: Size) -> list[Model]:
    """The models of a folder. Raises NotFoundError where one is missing."""
    models = []
    for name, _, _ in names(size):
        path = path_of(folder, name)
        if not path.exists():
            raise NotFoundError(f"{path} is not there: train the models of the study with --train.")
        models.append(Model(name, path, sha256_of(path)))
    return models


def sha256_of(model: Path) -> str:
    """The SHA-256 of a model's file, or of the weights of its folder one after the other."""
    digest = hashlib.sha256()
    for path in sorted(model.glob("*.safetensors")) if model.is_dir() else [model]:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def path_of(folder: Path, name: str) -> Path:
    """Where the file of a model is."""
    return folder / name / f"{name}.gguf"
