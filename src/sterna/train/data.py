"""Corpus files to a tokenizer and to memory-mapped token files; training windows out of them."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sterna.checkpoint.atomic import atomic_write
from sterna.errors import ArgumentError
from sterna.model.tokenizer.pre import LLAMA3

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0


def documents(paths: list[Path]) -> Iterator[str]:
    """The documents of UTF-8 text files (.xz is unpacked), parted by lines `<|endoftext|>`. Raises ArgumentError."""
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
        except (OSError, UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
            raise ArgumentError(f"Cannot read the text file {path}: {error}.") from error


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer, in GGUF's words `gpt2` with the pre type `llama-bpe`.

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
    """Write the texts to `path` as uint16 token ids, each opened by `<|endoftext|>`; one typed in text stays text."""
    tokenizer.encode_special_tokens = True
    with atomic_write(path) as file:
        while batch := list(islice(texts, 8)):
            for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
                file.write(np.array([END_OF_TEXT_ID, *encoding.ids], dtype=np.uint16).tobytes())


def prepare(folder: Path, train: list[Path], valid: list[Path], vocab_size: int) -> tuple[Tokenizer, np.memmap]:
    """The run's tokenizer and training tokens (uint16 [n], mapped); made once, kept in `folder` for the same inputs."""
    try:
        sizes = {path.name: path.stat().st_size for path in (*train, *valid)}
    except OSError as error:
        raise ArgumentError(f"Cannot read a corpus file: {error}.") from error
    inputs = {"files": sizes, "vocab_size": vocab_size}
    stamp, tokenizer_path, tokens_path = folder / "data.json", folder / "tokenizer.json", folder / "train.bin"
    if not stamp.exists() or json.loads(stamp.read_text()) != inputs:
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(documents(train), vocab_size)
        with atomic_write(tokenizer_path) as file:
            file.write(tokenizer.to_str(pretty=True).encode())
        encode_documents(tokenizer, documents(train), tokens_path)
        with atomic_write(stamp) as file:
            file.write(json.dumps(inputs).encode())
    return Tokenizer.from_file(os.fspath(tokenizer_path)), np.memmap(tokens_path, dtype=np.uint16, mode="r")


def random_windows(tokens: np.ndarray, seed: int, step: int, batch_size: int, context: int) -> np.ndarray:
    """Training windows, int64 [batch_size, context + 1]: a function of seed and step alone.

    Every second window opens with `<|endoftext|>`, as every prompt does; the others open in mid-text, as later windows
    of an evaluation do. Raises ArgumentError for a corpus shorter than one window.
    """
    if len(tokens) < context + 1:
        raise ArgumentError(f"The corpus has {len(tokens)} tokens, fewer than one window of {context + 1}.")
    starts = np.random.default_rng((seed, step)).integers(0, len(tokens) - context, size=batch_size)
    windows = tokens[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    windows[::2, 0] = END_OF_TEXT_ID
    return windows
