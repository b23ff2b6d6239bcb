"""Unigram and WordPiece, the vocabularies of embedding models, against the libraries that they come from."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from sterna.errors import FormatError, SternaError, UnsupportedError
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.hf_settings import Settings
from sterna.model.tokenizer.spm import read_sentencepiece
from sterna.model.tokenizer.summary import summarize_tokenizer

from .test_tokenizer_model import folder, train
from .tiny_vocabularies import TEXT

sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

# No mark after a letter that the rules change: there the tokenizers library differs from SentencePiece.
TEXTS = st.text(alphabet=st.sampled_from("the and stormy night; 1234 für нещо 工 \n\t\u3000ﬁ①Ａ'🦙<>/s"), max_size=30)
T5 = {"model_type": "unigram", "vocab_size": 360, "normalization_rule_name": "nmt_nfkc"}


def t5(path: Path, **options: Any) -> tuple[dict[str, Any], Any]:
    """A vocabulary as GGUF metadata, and SentencePiece's own reading of it."""
    data = train(**(T5 | options))
    (path / "spiece.model").write_bytes(data)
    metadata = read_sentencepiece(path / "spiece.model", Settings(config={"add_bos_token": False}))
    return metadata, sentencepiece.SentencePieceProcessor(model_proto=data)


@pytest.mark.parametrize(
    "options",
    [
        {"remove_extra_whitespaces": True, "byte_fallback": False},
        {"remove_extra_whitespaces": True},
        {"normalization_rule_name": "identity"},
        {"normalization_rule_name": "nmt_nfkc_cf", "add_dummy_prefix": False},
        {"remove_extra_whitespaces": True, "add_dummy_prefix": False},
        {"user_defined_symbols": ["the", "42"]},
    ],
)
def test_unigram_ids_are_sentencepieces(tmp_path: Path, options: dict[str, Any]) -> None:
    metadata, library = t5(tmp_path, **options)
    assert metadata["tokenizer.ggml.model"] == "t5"
    tokenizer = Tokenizer.from_gguf_metadata(metadata)
    again = Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())

    @given(TEXTS)
    @settings(max_examples=200, deadline=None)
    def equal(text: str) -> None:
        ids = tokenizer.encode(text, add_special=False)
        assert ids == library.encode(text) == again.encode(text, add_special=False)
        if library.unk_id() not in ids and "▁" not in text:
            assert tokenizer.decode(ids) == library.decode(ids)

    equal()
    assert not set(tokenizer.encode("</s><unk><s>")) & {library.bos_id(), library.eos_id()}
    assert tokenizer.encode("</s>", parse_special=True)[-1] == library.eos_id()


def test_a_unigram_model_in_a_folder_is_read(tmp_path: Path) -> None:
    data = train(**T5)
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = Tokenizer(folder(tmp_path, data))
    assert tokenizer.encode(TEXT[0]) == [library.bos_id(), *library.encode(TEXT[0])]
    assert summarize_tokenizer(tokenizer)["type"] == "SentencePiece Unigram"
    with pytest.raises(UnsupportedError, match="no tokenizer.json of a Unigram"):
        tokenizer.hf_files(512)


def test_t5_puts_its_end_token_after_a_text_unless_the_file_says_no(tmp_path: Path) -> None:
    metadata, library = t5(tmp_path)
    del metadata["tokenizer.ggml.add_eos_token"], metadata["tokenizer.ggml.add_bos_token"]
    tokenizer = Tokenizer.from_gguf_metadata(metadata)
    assert (tokenizer.suffix_id, tokenizer.add_bos) == (library.eos_id(), False)
    assert Tokenizer.from_gguf_metadata(metadata | {"tokenizer.ggml.add_eos_token": False}).suffix_id is None


def test_special_tokens_in_a_unigram_tokenizer_json_are_only_text_when_typed(tmp_path: Path) -> None:
    library = tokenizers.Tokenizer(models.Unigram())
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "</s>"]
    trainer = trainers.UnigramTrainer(vocab_size=80, special_tokens=special, unk_token="<unk>", show_progress=False)
    library.train_from_iterator([f"{text} </s>" for text in TEXT] * 10, trainer)
    (tmp_path / "tokenizer.json").write_text(library.to_str())
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.encode(TEXT[0]) == library.encode(TEXT[0]).ids
    assert 1 not in tokenizer.encode("a </s>") and 1 in tokenizer.encode("a </s>", parse_special=True)


@pytest.mark.parametrize(
    "change",
    [
        {"precompiled_charsmap": np.frombuffer(b"\xff" * 40, np.uint8)},
        {"precompiled_charsmap": np.zeros(3, np.int8)},
        {"precompiled_charsmap": np.frombuffer(bytes(8) + b"long" * 1000, np.uint8)},
        {"precompiled_charsmap": "abc"},
        {"precompiled_charsmap": np.zeros(8, np.float32)},
        {"scores": np.zeros(3, np.float32)},
        {"token_type": np.ones(360, np.int32)},
    ],
)
def test_broken_unigram_vocabularies_are_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    metadata, _ = t5(tmp_path)
    change = {f"tokenizer.ggml.{name}": value for name, value in change.items()}
    with pytest.raises(SternaError) as error:
        Tokenizer.from_gguf_metadata(metadata | change).encode("Any ﬁt text")
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@cache
def bert(lowercase: bool = True) -> tokenizers.Tokenizer:
    """A small tokenizer.json in BERT's manner."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=200, special_tokens=BERT_SPECIAL, show_progress=False)
    )
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    library.decoder = decoders.WordPiece()
    return library


def bert_metadata(lowercase: bool = True) -> dict[str, Any]:
    """As llama.cpp's converter writes it: "▁" before what begins a word, nothing before what goes on with one."""
    vocab = bert(lowercase).get_vocab()
    texts = sorted(vocab, key=vocab.__getitem__)
    tokens = [text if text in BERT_SPECIAL else text[2:] if text.startswith("##") else f"▁{text}" for text in texts]
    ids = {"bos": 2, "cls": 2, "seperator": 3, "unknown": 1, "padding": 0, "mask": 4}
    keys = {"model": "bert", "tokens": tokens, "token_type": np.array([3] * 5 + [1] * (len(tokens) - 5), np.int32)}
    keys |= {f"{name}_token_id": token for name, token in ids.items()}
    keys |= {} if lowercase else {"normalizer.lowercase": False}
    return {f"tokenizer.ggml.{name}": value for name, value in keys.items()}


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece_ids_are_the_librarys(tmp_path: Path, lowercase: bool) -> None:
    library, metadata = bert(lowercase), bert_metadata(lowercase)
    (tmp_path / "tokenizer.json").write_text(library.to_str())
    read = [Tokenizer(tmp_path / "tokenizer.json"), Tokenizer.from_gguf_metadata(metadata)]
    read.append(Tokenizer.from_gguf_metadata(read[1].gguf_metadata()))
    for tokenizer in read:
        assert (tokenizer.bos_id, tokenizer.add_bos, tokenizer.suffix_id) == (2, True, 3)

    @given(TEXTS | st.text())
    @settings(max_examples=200, deadline=None)
    def equal(text: str) -> None:
        ids = library.encode(text, add_special_tokens=False).ids
        for tokenizer in read:
            assert tokenizer.encode(text, add_special=False) == ids
            assert tokenizer.encode(text) == [2, *ids]

    equal()


@pytest.mark.parametrize("source", ["json", "gguf"])
def test_wordpiece_texts_come_back_word_by_word(tmp_path: Path, source: str) -> None:
    (tmp_path / "tokenizer.json").write_text(bert().to_str())
    tokenizer = Tokenizer(tmp_path) if source == "json" else Tokenizer.from_gguf_metadata(bert_metadata())
    ids = tokenizer.encode("  The   stormy night,")
    assert tokenizer.decode(ids) == "the stormy night ,"
    stream = tokenizer.stream()
    assert "".join([*map(stream.push, ids), stream.flush()]) == "the stormy night ,"
    assert not {2, 3} & set(tokenizer.encode("[CLS] a [SEP]", add_special=False))
    assert tokenizer.encode("a[SEP]", parse_special=True)[-1] == 3
    assert summarize_tokenizer(tokenizer)["type"] == "WordPiece"


def test_a_wordpiece_that_would_find_special_tokens_in_text_does_not(tmp_path: Path) -> None:
    state = json.loads(bert().to_str()) | {"pre_tokenizer": {"type": "WhitespaceSplit"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    assert 3 not in Tokenizer(tmp_path).encode("a [SEP] b".upper(), add_special=False)


def test_a_wordpiece_without_an_unknown_token_is_refused() -> None:
    metadata = bert_metadata()
    del metadata["tokenizer.ggml.unknown_token_id"]
    with pytest.raises(FormatError, match="unknown token"):
        Tokenizer.from_gguf_metadata(metadata)
