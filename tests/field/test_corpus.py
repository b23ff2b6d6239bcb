"""Corpora as people have them: byte order marks, separators with blanks or inside a line, no separators, huge words."""

from __future__ import annotations

import lzma
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sterna.errors import ArgumentError  # noqa: E402
from sterna.train import data  # noqa: E402
from sterna.train.corpus import document_parts  # noqa: E402
from sterna.train.data import encode_documents, prepare, train_tokenizer  # noqa: E402

from ..helpers import documents  # noqa: E402

DOCUMENTS = ["one two three\n", "four five\n", "six\n"]
SEPARATOR = "<|endoftext|>"
CORPORA = {
    "bom": "\ufeff" + SEPARATOR + "\n" + f"{SEPARATOR}\n".join(DOCUMENTS),
    "trailing space": f"{SEPARATOR} \n".join(DOCUMENTS),
    "leading blanks": f" \t{SEPARATOR}\n".join(DOCUMENTS),
    "two files joined": f"\ufeff{DOCUMENTS[0]}\ufeff{SEPARATOR}\n\ufeff{DOCUMENTS[1]}{SEPARATOR}\n{DOCUMENTS[2]}",
    "inline": SEPARATOR.join(document.strip() for document in DOCUMENTS),
    "inline, lines end": f"{SEPARATOR}\n".join(document.strip() for document in DOCUMENTS) + SEPARATOR + "\n",
}


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_corpus_separators(tmp_path: Path, name: str, packed: bool, line_end: str) -> None:
    path = tmp_path / ("t.xz" if packed else "t.txt")
    text = CORPORA[name].replace("\n", line_end).encode()
    path.write_bytes(lzma.compress(text) if packed else text)
    expected = [document.strip() if "inline" in name else document for document in DOCUMENTS]
    assert list(documents([path])) == [document.replace("\n", line_end) for document in expected]


def test_a_separator_inside_a_line_is_text_where_lines_separate_and_a_word_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(f"one\n{SEPARATOR}\nwrite {SEPARATOR} here\nand {SEPARATOR} there\n")
    said: list[str] = []
    texts = ["".join(parts) for parts in document_parts([tmp_path / "t.txt"], said.append)]
    assert texts == ["one\n", f"write {SEPARATOR} here\nand {SEPARATOR} there\n"]
    assert len(said) == 1 and "t.txt" in said[0] and "inside a line" in said[0]


def test_separators_are_found_wherever_a_long_line_is_read_in_parts(tmp_path: Path) -> None:
    lengths = [1, 65530, 65536, 7, 131072 - 13, 65523, 40000]
    (tmp_path / "t.txt").write_text(SEPARATOR.join("x" * length for length in lengths) + SEPARATOR[:5])
    assert [len(text) for text in documents([tmp_path / "t.txt"])] == [*lengths[:-1], 40005]


@pytest.mark.parametrize("letters", ["ACGT", "ab", "我想在工作", "=", " ", "_-", "ACGT_.\n"])
def test_one_huge_word_takes_time_in_proportion(letters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges are learnt from pieces of it: with the whole word, this takes minutes."""
    text = "".join(random.Random(0).choices(letters, k=150_000))
    fed: list[str] = []
    sample = data._sample
    monkeypatch.setattr(data, "_sample", lambda *args: (fed.append(piece) or piece for piece in sample(*args)))
    try:
        train_tokenizer([[text]], 300)
    except ArgumentError as error:
        assert "lower it or take more text" in str(error)  # one letter has few merges
    assert "".join(fed) == text
    cut = data._untrained().pre_tokenizer.pre_tokenize_str
    assert max(end - start for piece in fed for _, (start, end) in cut(piece)) <= 2 * data.LONGEST_WORD


def test_the_merges_of_ordinary_text_do_not_depend_on_pieces() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(1, 9))) for _ in range(500)]
    text = " ".join(rng.choices(words, k=30_000))
    whole = train_tokenizer([[text]], 500)
    parted = train_tokenizer([[text[i : i + 1000] for i in range(0, len(text), 1000)]], 500)
    assert whole.to_str() == parted.to_str()


def test_distinct_words_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DISTINCT_BYTES", 50_000)
    rng = random.Random(2)
    text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789+/", k=300_000))
    said: list[str] = []
    assert train_tokenizer([[text]], 400, said.append).get_vocab_size() == 400
    assert len(said) == 1 and "distinct words" in said[0]


def test_tokens_of_a_text_without_separators_are_those_of_the_whole(tmp_path: Path) -> None:
    text = "It was the best of times, it was the worst of times; it wasn't 1859. " * 2000
    tokenizer = train_tokenizer([[text]], 280)
    encode_documents(tokenizer, [[text], ["short"]], tmp_path / "tokens")
    tokens = np.fromfile(tmp_path / "tokens", np.uint16).tolist()
    expected = [tokenizer.encode(part, add_special_tokens=False).ids for part in (text, "short")]
    assert tokens == [0, *expected[0], 0, *expected[1]]


def test_memory_does_not_follow_the_longest_document(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("It was a dark and stormy night; the rain fell in torrents. " * 100_000)
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from sterna.train.data import prepare\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "prepare(Path(sys.argv[1]) / 'out', Path(sys.argv[1]), ['t.txt'], 280)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 150_000, "kB, of a text of 6 MB"


def test_what_is_no_file_is_no_corpus(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match="it is no file"):
        prepare(tmp_path / "out", tmp_path, ["pipe"], 300)
