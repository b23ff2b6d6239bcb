"""Rows of JSONL, Parquet and data sets are documents, as those of text files are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from sterna.errors import ArgumentError, UnsupportedError  # noqa: E402
from sterna.train.corpus import document_parts  # noqa: E402
from sterna.train.data import prepare  # noqa: E402
from sterna.train.sources import source  # noqa: E402

TEXTS = ["One fish,\ntwo fish.", "Red fish: <|endoftext|> typed.", "x" * 100_000, "blue — ß"]


def documents(base: Path, name: str) -> list[str]:
    return ["".join(parts) for parts in document_parts([source(base, name)])]


def write_jsonl(path: Path, field: str = "text") -> None:
    lines = [json.dumps({"id": number, field: text}) for number, text in enumerate([*TEXTS, ""])]
    path.write_text("\ufeff" + "\r\n\n".join(lines))


def test_rows_of_jsonl_are_documents(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    write_jsonl(tmp_path / "b.JSONL", "content")
    assert documents(tmp_path, "a.jsonl") == TEXTS
    assert documents(tmp_path, "b.JSONL#content") == TEXTS


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "cut \\ud83d"}\n{"text": "whole \\ud83d\\ude00"}')
    assert documents(tmp_path, "a.jsonl") == ["cut \ufffd", "whole \U0001f600"]


def test_rows_of_parquet_are_documents(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.core.pa.table({"id": list(range(200)), "text": TEXTS * 50})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    assert documents(tmp_path, "a.parquet") == TEXTS * 50
    with pytest.raises(ArgumentError, match="has no text called 'body'; name another field: a.parquet#FIELD"):
        documents(tmp_path, "a.parquet#body")
    assert list(source(tmp_path, "a.parquet").rows(columns=["body"])) == [{}] * 200
    with pytest.raises(ArgumentError, match="has no text called 'id'"):
        documents(tmp_path, "a.parquet#id")


def test_a_data_set_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "test"):
        write_jsonl(folder / f"{split}.jsonl")
    assert documents(tmp_path, f"hf:{folder}") == TEXTS
    assert documents(tmp_path, f"hf:{folder}:test#text") == TEXTS
    with pytest.raises(ArgumentError, match=r"^Cannot read the data set [^\n]*\.$"):
        documents(tmp_path, f"hf:{folder}:absent")


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("hf:some/set", "datasets", "train,datasets"), ("a.parquet", "pyarrow", "parquet")],
)
def test_an_absent_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnsupportedError, match=rf"needs {module}: pip install 'sterna\[{extra}\]'\.$"):
        documents(tmp_path, name)


@pytest.mark.parametrize("content", [b"{", b'"text"', b'{"text": 7}', b"\xff", b"[" * 100_000, b'{"other": "text"}'])
def test_broken_rows_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "whole"}\n' + content)
    with pytest.raises(ArgumentError, match=r"a\.jsonl[^\n]*\.$"):
        documents(tmp_path, "a.jsonl")


def test_a_broken_line_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "whole"}\n\n{"text" "broken"}\n')
    with pytest.raises(ArgumentError, match=r"^Cannot read line 3 of the JSONL file .*a\.jsonl: .* at column 9\.$"):
        documents(tmp_path, "a.jsonl")


def test_broken_and_absent_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    for name in ("a.parquet", "absent.parquet", "absent.jsonl"):
        with pytest.raises(ArgumentError, match=r"^Cannot read [^\n]*\.$") as error:
            documents(tmp_path, name)
        assert str(error.value).count(name) == 1 and "Errno" not in str(error.value)
        with pytest.raises(ArgumentError, match=r"^Cannot read [^\n]*\.$"):
            prepare(tmp_path / "out", tmp_path, [name], 260)


def test_rows_give_the_tokens_of_the_same_documents_in_a_text_file(tmp_path: Path) -> None:
    texts = ["One fish,\ntwo fish.\n", "Red fish, blue fish.\n"] * 3
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join(texts))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    _, plain, _ = prepare(tmp_path / "plain", tmp_path, ["a.txt"], 260)
    _, rows, _ = prepare(tmp_path / "rows", tmp_path, ["a.jsonl"], 260)
    assert rows.tolist() == plain.tolist()
