"""Makes a tokenizer and memory-mapped token files from corpus files, and draws training windows from them."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sterna.errors import ArgumentError
from sterna.files.atomic import atomic_write
from sterna.model.tokenizer.pre import LLAMA3

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
TOKENIZER_FILE, TOKENS_FILE, STAMP_FILE = "tokenizer.json", "train.bin", "data.json"


def documents(paths: list[Path]) -> Iterator[str]:
    """The documents of UTF-8 text files (.xz is unpacked), separated by lines `<|endoftext|>`. Raises ArgumentError."""
    for path in paths:
        try:
            opener = lzma.open if path.suffix == ".xz" else open
            with opener(path, "rt", encoding="utf-8", newline="\n") as file:
                lines: list[str] = []
                for line in file:
                    if line.rstrip("\r\n") != END_OF_TEXT:
                        lines.append(line)
                        continue
                    if lines:
                        yield "".join(lines)
                    lines = []
                if lines:
                    yield "".join(lines)
        except (OSError, ValueError, lzma.LZMAError, EOFError) as error:
            raise ArgumentError(f"Cannot read the text file {path}: {error}.") from error


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer, in GGUF's terms `gpt2` with the pre type `llama-bpe`.

    Token 0 is `<|endoftext|>`, the only special token: it opens a text and ends it. Raises ArgumentError where the
    texts give fewer than `vocab_size` tokens.
    """
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", special_tokens=[(END_OF_TEXT, END_OF_TEXT_ID)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ArgumentError(
            f"The corpus gives only {tokenizer.get_vocab_size()} of the {vocab_size} tokens of model.vocab_size; "
            "lower it or take more text."
        )
    return tokenizer


def encode_documents(tokenizer: Tokenizer, texts: Iterator[str], path: Path) -> None:
    """Writes the texts to `path` as uint16 token ids, each after the token `<|endoftext|>`. These characters inside a
    text are encoded as ordinary text."""
    tokenizer.encode_special_tokens = True
    with atomic_write(path) as file:
        while batch := list(islice(texts, 8)):
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                file.write(np.array([END_OF_TEXT_ID, *encoding.ids], dtype=np.uint16).tobytes())


def prepare(folder: Path, base: Path, train: list[str], vocab_size: int) -> tuple[Tokenizer, np.memmap, dict[str, Any]]:
    """The run's tokenizer, its training tokens (uint16 [n], mapped) and a stamp that identifies them.

    They are made from the files `train`, relative to `base`, and kept in `folder`; they are made again where the names
    or sizes of the files differ or what was kept is damaged. Raises ArgumentError for files that cannot be read.
    """
    paths = [base / name for name in train]
    try:
        sizes = [path.stat().st_size for path in paths]
    except (OSError, ValueError) as error:
        raise ArgumentError(f"Cannot read a corpus file: {error}.") from error
    inputs = {"files": [list(entry) for entry in zip(train, sizes, strict=True)], "vocab_size": vocab_size}
    if not _is_kept(folder, inputs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ArgumentError(f"Cannot make the output folder {folder}: {error}.") from error
        tokenizer = train_tokenizer(documents(paths), vocab_size)
        with atomic_write(folder / TOKENIZER_FILE) as file:
            file.write(tokenizer.to_str(pretty=True).encode())
        encode_documents(tokenizer, documents(paths), folder / TOKENS_FILE)
        with atomic_write(folder / STAMP_FILE) as file:
            file.write(json.dumps(inputs | _outputs(folder)).encode())
    tokenizer = Tokenizer.from_file(os.fspath(folder / TOKENIZER_FILE))
    return tokenizer, np.memmap(folder / TOKENS_FILE, dtype=np.uint16, mode="r"), inputs | _outputs(folder)


def _outputs(folder: Path) -> dict[str, Any]:
    """The stamp's entries about the files that were made."""
    digest = hashlib.sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest()
    return {"tokenizer_sha256": digest, "tokens_bytes": (folder / TOKENS_FILE).stat().st_size}


def _is_kept(folder: Path, inputs: dict[str, Any]) -> bool:
    """Whether `folder` holds undamaged files that were made from these inputs."""
    try:
        return json.loads((folder / STAMP_FILE).read_bytes()) == inputs | _outputs(folder)
    except (OSError, ValueError, RecursionError):
        return False


def random_windows(tokens: np.ndarray, seed: int, step: int, batch_size: int, context: int) -> np.ndarray:
    """Training windows, int64 [batch_size, context + 1]: a function of seed and step alone.

    Every second window begins with `<|endoftext|>`, as every prompt does; the others begin in the middle of a text, as
    later windows of an evaluation do. Raises ArgumentError for a corpus shorter than one window.
    """
    if len(tokens) < context + 1:
        raise ArgumentError(f"The corpus has {len(tokens)} tokens, fewer than one window of {context + 1}.")
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - context, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    windows[::2, 0] = END_OF_TEXT_ID
    return windows
