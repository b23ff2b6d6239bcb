"""Makes a tokenizer and memory-mapped token files from corpus files, and draws training windows from them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sterna.errors import ArgumentError, reason
from sterna.files.atomic import atomic_write
from sterna.model.tokenizer.long_text import WINDOW, LongText
from sterna.model.tokenizer.pre import LLAMA3
from sterna.train.background import in_background
from sterna.train.corpus import END_OF_TEXT, Report, document_parts
from sterna.train.sources import Rows, source

END_OF_TEXT_ID = 0
TOKENIZER_FILE, TOKENS_FILE, STAMP_FILE = "tokenizer.json", "train.bin", "data.json"
LONGEST_WORD = 256
"""Characters. The time to learn merges is quadratic in the length of a word, so longer words are cut first."""
DISTINCT_BYTES = 3_000_000
"""How many bytes of distinct words the merges are learnt from; each byte takes about 90 bytes of memory. 127 MB of
English novels have 1 MB of distinct words; in random letters nearly every word is distinct."""
BATCH = 8 * WINDOW
"""Characters encoded at a time, on all cores: 0.1 s on two."""
# Each word of the pre-tokenizer lies within one such run (letters and digits, white space, or other characters), except
# that one character before the run and line ends after it may belong to the word.
_RUNS = re.compile(r"[^\W_]+|\s+|(?:[^\w\s]|_)+")
_LONG_RUNS = re.compile(_RUNS.pattern.replace("+", f"{{{LONGEST_WORD + 1},}}"))


def train_tokenizer(texts: Iterable[Iterable[str]], vocab_size: int, report: Report = lambda line: None) -> Tokenizer:
    """A byte-level BPE tokenizer, in GGUF's terms `gpt2` with the pre type `llama-bpe`, from texts in parts.

    Token 0 is `<|endoftext|>`, the only special token: it opens a text and ends it. Words longer than `LONGEST_WORD`
    are cut; the rest of the texts is not read once there are `DISTINCT_BYTES` of distinct words, which is reported.
    Raises ArgumentError where the texts give fewer than `vocab_size` tokens.
    """
    tokenizer = _untrained()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Training locks the tokenizer, so texts are cut by another one.
    pieces = chain.from_iterable(map(LongText(_untrained(), byte_level=True).pieces, texts))
    in_background(lambda stopped: tokenizer.train_from_iterator(_sample(pieces, report, stopped), trainer))
    if tokenizer.get_vocab_size() != vocab_size:
        raise ArgumentError(
            f"The corpus gives only {tokenizer.get_vocab_size()} of the {vocab_size} tokens of model.vocab_size; "
            "lower it or take more text."
        )
    return tokenizer


def _untrained() -> Tokenizer:
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
    return tokenizer


def _sample(pieces: Iterable[str], report: Report, stopped: Callable[[], bool]) -> Iterator[str]:
    """The text that merges are learnt from: long words are cut, `DISTINCT_BYTES` of distinct words are the end."""
    seen: set[int] = set()
    size = characters = 0
    for piece in pieces:
        if stopped():
            return
        runs = set(_RUNS.findall(piece))
        new = [run for run in runs if hash(run) not in seen]
        seen.update(map(hash, new))
        size += len("".join(new).encode())
        characters += len(piece)
        at = 0
        for run in _LONG_RUNS.finditer(piece) if max(map(len, runs)) > LONGEST_WORD else ():
            yield piece[at : run.start()]
            at = run.end()
            yield from (piece[start : min(start + LONGEST_WORD, at)] for start in range(run.start(), at, LONGEST_WORD))
        yield piece[at:]
        if size > DISTINCT_BYTES:
            report(
                f"The tokenizer is made from the first {characters:,} characters, because their distinct words already "
                f"fill {DISTINCT_BYTES:,} bytes."
            )
            return


def encode_documents(tokenizer: Tokenizer, texts: Iterable[Iterable[str]], path: Path) -> None:
    """Writes texts, each of which comes in parts, to `path` as uint16 token ids, each text after token 0,
    `<|endoftext|>`. The same characters inside a text are encoded as ordinary text."""
    tokenizer.encode_special_tokens = True
    long_text = LongText(tokenizer, byte_level=True)
    with atomic_write(path) as file:
        batch: list[tuple[bool, str]] = []
        size = 0
        for text in texts:
            for number, piece in enumerate(long_text.pieces(text)):
                batch.append((number == 0, piece))
                size += len(piece)
                if size >= BATCH:
                    _write_tokens(tokenizer, batch, file)
                    batch, size = [], 0
        _write_tokens(tokenizer, batch, file)


def _write_tokens(tokenizer: Tokenizer, batch: list[tuple[bool, str]], file: BinaryIO) -> None:
    """Writes the token ids of pieces, each with whether it opens a text; then `<|endoftext|>` precedes it."""
    encodings = tokenizer.encode_batch_fast([piece for _, piece in batch], add_special_tokens=False)
    for (opens, _), encoding in zip(batch, encodings, strict=True):
        file.write(np.array([END_OF_TEXT_ID] * opens + encoding.ids, dtype=np.uint16).tobytes())


def prepare(
    folder: Path, base: Path, train: list[str], vocab_size: int, report: Report = lambda line: None
) -> tuple[Tokenizer, np.memmap, dict[str, Any]]:
    """The run's tokenizer, its training tokens (uint16 [n], mapped) and a stamp that identifies them.

    Tokenizer and tokens are made from the files `train`, relative to `base`, and kept in `folder`; they are made again
    where the names or sizes of the files differ or a kept file is damaged. The tokenizer encodes `<|endoftext|>` inside
    a text as ordinary text, as it was for the training tokens. `report` receives lines of progress. Raises
    ArgumentError for files that cannot be read.
    """
    sources = [source(base, name) for name in train]
    inputs = corpus_inputs(base, train, vocab_size)
    if not is_kept(folder, inputs):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(f"Cannot make the output folder {folder}: {reason(error)}.") from error
        reading = document_parts(sources, report, _Shares("Making the tokenizer", report))
        tokenizer = train_tokenizer(reading, vocab_size, report)
        with atomic_write(folder / TOKENIZER_FILE) as file:
            file.write(tokenizer.to_str(pretty=True).encode())
        reading = document_parts(sources, progress=_Shares("Encoding the corpus", report))
        encode_documents(tokenizer, reading, folder / TOKENS_FILE)
        with atomic_write(folder / STAMP_FILE) as file:
            file.write(json.dumps(inputs | _outputs(folder)).encode())
    tokenizer = Tokenizer.from_file(os.fspath(folder / TOKENIZER_FILE))
    tokenizer.encode_special_tokens = True
    return tokenizer, np.memmap(folder / TOKENS_FILE, dtype=np.uint16, mode="r"), inputs | _outputs(folder)


class _Shares:
    """Receives the share that is done, and reports it every few seconds."""

    def __init__(self, what: str, report: Report, seconds: float = 5.0) -> None:
        self._what, self._report, self._seconds = what, report, seconds
        self._next = time.monotonic() + seconds

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            self._report(f"{self._what}: {share:.0%}")


def corpus_inputs(base: Path, train: list[str], vocab_size: int) -> dict[str, Any]:
    """What identifies the inputs of the tokenizer and the tokens: names and sizes (bytes; 0 for a data set) of
    what is read, and `vocab_size`. Raises ArgumentError where a name is not a regular file."""
    files = []
    for name in train:
        found = source(base, name)
        if isinstance(found, Rows) and found.is_data_set:
            files.append([name, 0])
            continue
        path = found.path if isinstance(found, Rows) else found
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise ArgumentError(f"Cannot read a corpus file, {path}: {reason(error)}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise ArgumentError(f"Cannot read the corpus {path}: it is no file.")
        files.append([name, status.st_size])
    return {"files": files, "vocab_size": vocab_size}


def _outputs(folder: Path) -> dict[str, Any]:
    """The stamp's entries about the files that were made."""
    digest = hashlib.sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest()
    return {"tokenizer_sha256": digest, "tokens_bytes": (folder / TOKENS_FILE).stat().st_size}


def is_kept(folder: Path, inputs: dict[str, Any]) -> bool:
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
