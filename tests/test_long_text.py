"""Long texts are encoded piece by piece, and their ids are those of the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers

from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.long_text import WINDOW, LongText
from sterna.model.tokenizer.pre import PRE

from .tiny_vocabularies import TEXT, byte_level_json, sentencepiece_metadata

WINDOWS = (32, 64)


def changed(state: str, **parts: Any) -> str:
    """A tokenizer.json with other parts."""
    return json.dumps(json.loads(state) | parts)


def sentencepiece_json(**parts: Any) -> str:
    """The SentencePiece vocabulary as tokenizer.json, with a normalizer and a pre-tokenizer of choice."""
    state = json.loads(Tokenizer.from_gguf_metadata(sentencepiece_metadata())._vocabulary.encoder.to_str())
    state["decoder"] = {"type": "ByteFallback"}
    return json.dumps(state | parts)


def no_words() -> str:
    """A byte-level BPE that merges across spaces."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library.train_from_iterator(
        TEXT * 2, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return library.to_str()


def metaspace(scheme: str, split: bool) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
LEGACY = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
JSON = {
    "Llama-3": lambda: byte_level_json(),
    "NFC": lambda: changed(byte_level_json(), normalizer={"type": "NFC"}),
    "prefix space": lambda: changed(byte_level_json(), pre_tokenizer=BYTE_LEVEL, post_processor=BYTE_LEVEL),
    "strip": lambda: changed(byte_level_json(), normalizer={"type": "Strip", "strip_left": True, "strip_right": False}),
    "no words": lambda: no_words(),
    "legacy": lambda: sentencepiece_json(normalizer=LEGACY),
    "replaced": lambda: sentencepiece_json(normalizer=REPLACE),
    **{
        f"metaspace {scheme} {split}": (lambda s=scheme, c=split: sentencepiece_json(pre_tokenizer=metaspace(s, c)))
        for scheme in ("always", "first", "never")
        for split in (True, False)
    },
}
KINDS = [
    *JSON,
    "scores",
    "merges",
    "across spaces",
    *(f"pre {name}" for name in {pre: name for name, pre in PRE.items()}.values()),
]


@cache
def tokenizer(kind: str) -> Tokenizer:
    if kind in JSON:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_text(JSON[kind]())
            return Tokenizer(path)
    if kind.startswith("pre ") and not PRE[kind.removeprefix("pre ")].pieces:
        return Tokenizer.from_gguf_metadata(byte_level_metadata(kind.removeprefix("pre ")))
    metadata = sentencepiece_metadata()
    if kind == "across spaces":
        pieces = ["e▁", "▁th", "e▁th", "s▁", "s▁a", "e▁the", "a▁a", "▁a▁"]
        metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"], *pieces]
        for name, value in (("scores", 0.0), ("token_type", 1)):
            given = metadata[f"tokenizer.ggml.{name}"]
            metadata[f"tokenizer.ggml.{name}"] = np.append(given, np.full(len(pieces), value, given.dtype))
    if kind == "merges" or kind.startswith("pre "):
        pieces = metadata["tokenizer.ggml.tokens"]
        merges = [f"{p[:cut]} {p[cut:]}" for p in pieces[259:] for cut in range(1, len(p))]
        metadata |= {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.merges": merges}
        if kind != "merges":
            metadata["tokenizer.ggml.pre"] = kind.removeprefix("pre ")
    return Tokenizer.from_gguf_metadata(metadata)


def byte_level_metadata(pre: str) -> dict[str, Any]:
    """A byte-level vocabulary as a GGUF file has it, with this `tokenizer.ggml.pre`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(byte_level_json())
        return Tokenizer(path).gguf_metadata() | {"tokenizer.ggml.pre": pre}


def encode(tokenizer: Tokenizer, text: str, window: int) -> list[int]:
    """The ids of a text that is cut into pieces of at most a window."""
    vocabulary = tokenizer._vocabulary
    tokenizer._long_text = LongText(vocabulary.encoder, vocabulary.byte_level, window)
    return tokenizer.encode(text)


def words() -> st.SearchStrategy[str]:
    """Texts in which no window is without a letter before a space."""
    letters = st.text(
        st.sampled_from("abinrsteTHE äжαΣς我想在は。，、!'’\".,-_/+=<>`$1234567890३\n\r\t\u00a0\u3000́🦙▁"), max_size=12
    )
    fixed = st.sampled_from([*chain.from_iterable(text.split(" ") for text in TEXT), "don't", "the ", " \n\n ", "   "])
    chunk = st.builds(
        lambda parts, last: "".join(parts)[:14] + last + " ",
        st.lists(letters | fixed, max_size=3),
        st.sampled_from("aeh3Z我"),
    )
    return st.lists(chunk, max_size=30).map("".join)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60)
@given(text=words())
def test_ids_do_not_depend_on_the_cuts(kind: str, text: str) -> None:
    model = tokenizer(kind)
    whole = encode(model, text, 1 << 30)
    for window in WINDOWS:
        assert encode(model, text, window) == whole


def test_texts_are_not_parted_where_characters_without_tokens_are_dropped() -> None:
    model = Tokenizer.from_gguf_metadata(byte_level_metadata("gemma4"))  # without "▁" and without bytes
    vocabulary = model._vocabulary
    texts = LongText(vocabulary.encoder, vocabulary.byte_level)
    assert len(model.encode("a нещоin")) < len(model.encode("a")) + len(model.encode(" нещоin"))
    assert not texts._are_separate("a", " нещоin") and not texts._are_separate("a ", "in")
    assert texts._are_separate("a", ".in")


HUGE_WORDS = ["ACGGTTACAGTCCA", "1234567890123", "b", "我想工作", "Zm9vYmFy+/", "=", "🦙🚀", "\n", "क्षन"]


# A digit's place in a group of three depends on how many digits follow it, up to the end of the number, and what
# becomes of a run of line ends on what stands after it: cuts within them are seen in the ids.
SEEN = {
    ("1234567890123", "pre cohere2moe"),
    ("1234567890123", "pre afmoe"),
    ("1234567890123", "pre superbpe"),
    ("\n", "pre spark2_5"),
}


@pytest.mark.parametrize(
    ("word", "kind"), [(word, kind) for word in HUGE_WORDS for kind in KINDS if (word, kind) not in SEEN]
)
def test_a_word_longer_than_a_window_is_cut_at_the_ends_of_tokens(word: str, kind: str) -> None:
    model, text = tokenizer(kind), f"the {word * (1500 // len(word))} the"
    assert encode(model, text, 1024) == encode(model, text, 1 << 30)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_short_and_give_the_text_again(kind: str) -> None:
    text = "".join(TEXT) + "x" * 400 + "\n" * 200 + "1" * 300
    vocabulary = tokenizer(kind)._vocabulary
    pieces = list(LongText(vocabulary.encoder, vocabulary.byte_level, 64).pieces([text]))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 64 for piece in pieces)


@given(text=words(), cuts=st.lists(st.integers(0, 400)))
@settings(deadline=None)
def test_a_text_in_parts_has_the_ids_of_the_whole(text: str, cuts: list[int]) -> None:
    text += "\ud83e\udd99 \udd99"  # a surrogate pair is one character, a half of one is none
    for kind in ("Llama-3", "scores", "legacy"):
        model = tokenizer(kind)
        whole = encode(model, text, 64)
        places = sorted({0, *(cut % len(text) for cut in cuts), len(text)})
        parts = [text[start:end] for start, end in zip(places, places[1:], strict=False)]
        assert list(chain.from_iterable(model.encode_parts(parts))) == whole


def test_encoding_ends_early_beyond_a_limit() -> None:
    model = tokenizer("Llama-3")
    del model._long_text
    taken: list[int] = []

    def parts() -> Iterator[str]:
        for number in range(1000):
            taken.append(number)
            yield "the fox " * WINDOW

    ids = model.encode_parts(parts())
    assert next(ids) == [model.bos_id] and len(next(ids)) > 100 and taken == [0]
    text = "the fox " * WINDOW
    assert model.encode(text, limit=5) == model.encode(text)[: len(model.encode(text, limit=5))]
    assert 5 < len(model.encode(text, limit=5)) < WINDOW
    assert model.encode("the fox", limit=100) == model.encode("the fox")


def test_memory_does_not_grow_with_the_text() -> None:
    program = (
        "import resource\n"
        "from sterna import Tokenizer\n"
        "from sterna.files.embedded import EMBEDDED_MODEL\n"
        "tokenizer = Tokenizer(EMBEDDED_MODEL)\n"
        "tokenizer.encode('It was a dark and stormy night. ' * 4000)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for unit in ('It was a dark and stormy night; ', 'ACGT'):\n"
        "    count = sum(map(len, tokenizer.encode_parts([unit * (4_000_000 // len(unit))])))\n"
        "    assert count > 500_000, count\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    grown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 60_000, "kB: the text itself has 4 MB"
