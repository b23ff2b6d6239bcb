"""Text files to documents, tokens and training windows."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sterna.errors import ArgumentError  # noqa: E402
from sterna.train.data import encode_documents, prepare, random_windows, train_tokenizer  # noqa: E402

from .helpers import documents  # noqa: E402

TEXT = "One fish,\ntwo fish.\n<|endoftext|>\nRed fish: <|endoftext|> typed.\n"


def test_documents_are_parted_by_lines_and_xz_is_unpacked(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.txt", tmp_path / "b.xz"
    plain.write_text(TEXT)
    packed.write_bytes(lzma.compress(TEXT.encode()))
    expected = ["One fish,\ntwo fish.\n", "Red fish: <|endoftext|> typed.\n"]
    assert list(documents([plain])) == expected
    assert list(documents([packed, plain])) == expected * 2


@pytest.mark.parametrize("content", [b"no xz", lzma.compress(b"text" * 100)[:-20], lzma.compress(b"\xff\xfe")])
def test_broken_text_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.xz"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"broken\.xz"):
        list(documents([path]))


def test_each_document_opens_with_the_one_special_token(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    tokenizer = train_tokenizer(documents([path]), 260)
    encode_documents(tokenizer, documents([path]), tmp_path / "tokens.bin")
    tokens = np.fromfile(tmp_path / "tokens.bin", dtype=np.uint16)
    assert (tokens == 0).sum() == 2
    assert tokenizer.decode(tokens[tokens != 0]) == "".join(documents([path]))


def test_a_separator_typed_in_a_text_is_ordinary_text_in_training_and_evaluation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    tokenizer, tokens, _ = prepare(tmp_path, tmp_path, ["a.txt"], 260)
    typed = tokenizer.encode("Red fish: <|endoftext|> typed.\n", add_special_tokens=False).ids
    assert 0 not in typed and tokens[-len(typed) :].tolist() == typed


def test_tokens_are_made_again_when_the_corpus_changes(tmp_path: Path) -> None:
    corpus, output = tmp_path / "a.txt", tmp_path / "out"
    corpus.write_text(TEXT)
    _, before, stamp = prepare(output, tmp_path, ["a.txt"], 260)
    corpus.write_text(TEXT * 4)
    _, after, other = prepare(output, tmp_path, ["a.txt"], 260)
    assert len(after) > 2 * len(before)
    assert stamp != other


def test_a_file_of_the_same_name_and_size_elsewhere_is_another_corpus(tmp_path: Path) -> None:
    for folder, text in (("a", TEXT), ("b", TEXT.upper().replace("<|ENDOFTEXT|>", "<|endoftext|>"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text.txt").write_text(text)
    first, _, _ = prepare(tmp_path, tmp_path, ["a/text.txt"], 260)
    second, _, _ = prepare(tmp_path, tmp_path, ["b/text.txt"], 260)
    assert first.get_vocab() != second.get_vocab()


@pytest.mark.parametrize("name", ["data.json", "tokenizer.json", "train.bin"])
def test_damaged_files_are_made_again(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    output = tmp_path / "out"
    _, tokens, stamp = prepare(output, tmp_path, ["a.txt"], 260)
    before = tokens.copy()
    for damage in (b"{", b"[" * 100_000, b"\xff" * 7, b""):
        (output / name).write_bytes(damage)
        _, after, again = prepare(output, tmp_path, ["a.txt"], 260)
        assert again == stamp
        assert np.array_equal(after, before)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "folder").mkdir()
    for name in ("absent.txt", "folder", "nul\0"):
        with pytest.raises(ArgumentError, match=r"^Cannot read [^\n]*\.$"):
            prepare(tmp_path / "out", tmp_path, [name], 260)
    with pytest.raises(ArgumentError, match="output folder"):
        prepare(tmp_path / "a.txt", tmp_path, ["a.txt"], 260)


def test_windows_are_a_function_of_seed_and_step() -> None:
    tokens = np.arange(1, 1000, dtype=np.uint16)
    first = random_windows(tokens, seed=1, step=7, batch_size=4, context=16)
    assert first.shape == (4, 17)
    assert np.array_equal(first, random_windows(tokens, seed=1, step=7, batch_size=4, context=16))
    assert not np.array_equal(first, random_windows(tokens, seed=1, step=8, batch_size=4, context=16))
    assert np.array_equal(np.diff(first[:, 1:]), np.ones((4, 15)))
    assert (first[::2, 0] == 0).all() and (first[1::2, 0] != 0).all()


def test_a_corpus_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ArgumentError, match="fewer than one window"):
        random_windows(np.zeros(16, np.uint16), seed=0, step=0, batch_size=1, context=16)
