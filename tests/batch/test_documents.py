"""Folders of documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sterna import LLM, Tokenizer
from sterna.batch import Documents, extract, run
from sterna.batch.chunks import chunks
from sterna.batch.extract import html_text, text_of
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError, ContextLengthError, FormatError, UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from tests.batch.jobs import read_lines
from tests.command import sterna
from tests.helpers import EMBEDDED_CONTEXT

TOKENIZER = Tokenizer(EMBEDDED_MODEL)
PAGE = """<!doctype html><title>A &amp; B</title><style>p {}</style><script>if (1 < 2) alert()</script>
<p>One <b>bold</b>
word.<p>Two<br>three<table><tr><td>x</td><td>y</td></tr></table><svg><text>no</text></svg>&lt;end&gt;"""


def pdf(text: str) -> bytes:
    """A PDF file of one page."""
    content = f"BT /F 12 Tf 20 100 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        f"<</Length {len(content)}>>\nstream\n{content}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    file, places = "%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(f"{len(file):010} 00000 n \n")
        file += f"{number} 0 obj\n{each}\nendobj\n"
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n" + "".join(places)
    return f"{file}{table}trailer\n<</Root 1 0 R/Size {len(objects) + 1}>>\nstartxref\n{len(file)}\n%%EOF\n".encode()


def folder(path: Path) -> Path:
    (path / "docs" / "deep").mkdir(parents=True)
    (path / "docs" / "b.txt").write_bytes(b"\xef\xbb\xbf" + b"The ship sails on the sea. " * 60)
    (path / "docs" / "a.html").write_text(PAGE)
    (path / "docs" / "deep" / "c.md").write_text("# Title\n{text} and {file}")
    (path / "docs" / "bad.txt").write_bytes(b"\xff\xfe\x00")
    (path / "docs" / "empty.txt").write_bytes(b"")
    (path / "docs" / ".hidden.txt").write_text("no")
    (path / "docs" / "picture.png").write_bytes(b"no")
    (path / "docs" / "link.txt").symlink_to("/etc/hostname")
    return path / "docs"


def test_each_part_of_each_document_is_asked_about(tmp_path: Path) -> None:
    asked = Documents("Sum up {file}: {text}", chunk=100, overlap=10)
    params = SamplingParams(max_tokens=4)
    report = run(folder(tmp_path), tmp_path / "out.jsonl", documents=asked, params=params)
    out = read_lines(tmp_path / "out.jsonl")
    assert [(row["file"], row["part"]) for row in out if row["file"] != "b.txt"] == [("a.html", 1), ("deep/c.md", 1)]
    parts = [row["part"] for row in out if row["file"] == "b.txt"]
    assert parts == list(range(1, len(parts) + 1)) and len(parts) > 3
    assert "messages" not in out[0] and out[0]["completion_tokens"] == 4
    (error,) = read_lines(tmp_path / "out.jsonl.errors.jsonl")
    assert error["error"]["message"] == "The document 'bad.txt': it is no text in UTF-8." and report.failed == 1
    llm = LLM()
    message = {"role": "user", "content": "Sum up deep/c.md: # Title\n{text} and {file}"}
    assert out[-1]["generated_text"] == llm.chat([message], params)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(words=st.lists(st.sampled_from(["ship", "é", "日本", "a" * 90, "\n\n", "🚢🚢"]), max_size=60), data=st.data())
def test_parts_fit_and_together_are_the_text(words: list[str], data: st.DataObject) -> None:
    size = data.draw(st.integers(8, 60))
    overlap = data.draw(st.integers(0, size - 1))
    text = " ".join(words)
    parts = list(chunks(TOKENIZER, text, size, overlap))
    assert all(len(TOKENIZER.encode(part, add_special=False)) <= size + 8 for part in parts)
    assert all("\ufffd" not in part and part in text for part in parts)
    assert overlap or "".join("".join(parts).split()) == "".join(text.split())


def test_overlapping_parts_share_their_ends() -> None:
    text = " ".join(f"word{n}" for n in range(300))
    parts = list(chunks(TOKENIZER, text, 60, 20))
    assert all(after.split()[0] in before.split() for before, after in zip(parts, parts[1:], strict=False))


def test_the_text_of_a_page() -> None:
    assert html_text(PAGE) == "A & B\nOne bold word.\nTwo\nthree\nx y\n<end>"


@pytest.mark.parametrize(
    "name, data",
    [
        ("a.txt", "caf\xe9".encode("utf-16")),
        ("b.md", b"\xef\xbb\xbfcaf\xc3\xa9"),
        ("c.html", b"<meta charset='ISO-8859-1'>caf\xe9"),
        ("d.html", b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1252">caf\xe9'),
        ("e.html", b"<meta charset=zlib>caf\xc3\xa9"),
        ("f.html", b"<meta charset=cp99999>caf\xc3\xa9"),
    ],
)
def test_texts_in_the_encodings_that_people_have(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert text_of(tmp_path / name) == "caf\xe9"


def test_the_text_of_a_pdf_file(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    (tmp_path / "a.pdf").write_bytes(pdf("The ship sails"))
    assert text_of(tmp_path / "a.pdf").strip() == "The ship sails"
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 nothing")
    with pytest.raises(FormatError, match="it is no PDF file that can be read"):
        text_of(tmp_path / "b.pdf")


def test_limits_of_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("four")
    (tmp_path / "a.pdf").write_bytes(pdf("The ship sails"))
    monkeypatch.setattr(extract, "PDF_SECONDS", 0.01)
    with pytest.raises(UnsupportedError, match="more than 0.01 seconds"):
        text_of(tmp_path / "a.pdf")
    monkeypatch.setattr(extract, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'sterna\[documents\]'"):
        text_of(tmp_path / "a.pdf")
    monkeypatch.setattr(extract, "MOST_BYTES", 3)
    with pytest.raises(UnsupportedError, match="it has 4 bytes"):
        text_of(tmp_path / "a.txt")


def test_documents_that_cannot_be_asked_about(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    asked = [
        (Documents("x"), tmp_path / "empty", ArgumentError, "has no documents"),
        (Documents("x"), tmp_path / "none", ArgumentError, "is no folder"),
        (Documents("x", chunk=1000), folder(tmp_path), ArgumentError, "A part has at most"),
        (Documents("x", chunk=20, overlap=20), tmp_path / "docs", ArgumentError, "overlap by fewer"),
        (
            Documents("x " * EMBEDDED_CONTEXT),
            tmp_path / "docs",
            ContextLengthError,
            f"take .* of the context's {EMBEDDED_CONTEXT}",
        ),
    ]
    for documents, place, kind, sentence in asked:
        with pytest.raises(kind, match=sentence):
            run(place, tmp_path / "out", documents=documents)
    with pytest.raises(ArgumentError, match="is a folder"):
        run(tmp_path / "docs", tmp_path / "out")


def test_the_verb_takes_a_prompt_and_a_schema_from_files(tmp_path: Path) -> None:
    docs = str(folder(tmp_path))
    (tmp_path / "ask.txt").write_text("Sum up:")
    (tmp_path / "schema.json").write_text("[]")
    command = ("batch", docs, str(tmp_path / "out.jsonl"), "-n", "2", "--map", str(tmp_path / "ask.txt"))
    bad = sterna(*command, "--schema", str(tmp_path / "schema.json"))
    assert bad.returncode == 1 and "schema.json is no JSON object" in bad.stderr
    assert sterna(*command, "--chunk", "50").returncode == 3
    assert sterna("batch", docs, str(tmp_path / "x"), "--chunk", "5").returncode == 2


def test_a_schema_goes_with_every_request(tmp_path: Path) -> None:
    (tmp_path / "ask.txt").write_text("Sum up:")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    asked = Documents.read(tmp_path / "ask.txt", schema=tmp_path / "schema.json")
    source = asked.source(folder(tmp_path), TOKENIZER, 512, 100)
    formats = [json.loads(line.data)["body"]["response_format"] for line in source.lines if line.flaw is None]
    assert {each["json_schema"]["schema"]["type"] for each in formats} == {"object"}
