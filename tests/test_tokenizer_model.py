"""SentencePiece's own `tokenizer.model`, read without its library, against the library."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sterna.checkpoint import Checkpoint
from sterna.checkpoint.convert.hf_folder import tokenizer_files
from sterna.errors import FormatError, SternaError, UnsupportedError
from sterna.model.tokenizer import Tokenizer

from .helpers import TINY
from .tiny_vocabularies import TEXT

sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")


def train(**options: Any) -> bytes:
    """A small model in Llama's manner."""
    model = io.BytesIO()
    defaults = {
        "vocab_size": 400,
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "hard_vocab_limit": False,
        "split_digits": True,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in TEXT for line in text.splitlines()] * 3),
        model_writer=model,
        **(defaults | options),
    )
    return model.getvalue()


LLAMA = train()


def folder(path: Path, data: bytes, **config: Any) -> Path:
    (path / "tokenizer.model").write_bytes(data)
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("options", [{}, {"add_dummy_prefix": False}], ids=["llama", "gemma"])
def test_ids_are_the_librarys(tmp_path: Path, options: dict[str, Any]) -> None:
    data = train(**options)
    tokenizer = Tokenizer(folder(tmp_path, data))
    library = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert tokenizer.vocab_size == library.vocab_size()
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (library.bos_id(), {library.eos_id()})

    @given(st.text(alphabet=st.sampled_from("the and stormy night; 1234 für нещо 工 \n'🦙")))
    @settings(max_examples=300, deadline=None)
    def equal(text: str) -> None:
        assert tokenizer.encode(text) == [library.bos_id(), *library.encode(text)]
        assert tokenizer.decode(tokenizer.encode(text)) == text

    equal()


def test_the_folder_of_a_run_with_such_a_base_gets_a_tokenizer_json(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "out").mkdir()
    run = folder(tmp_path / "run", LLAMA)
    for name, data in tokenizer_files(Checkpoint(TINY, {}, {}, run / "state.safetensors", "state")).items():
        (tmp_path / "out" / name).write_bytes(data)
    text = "the stormy night, 1234 für 🦙"
    assert Tokenizer(tmp_path / "out" / "tokenizer.json").encode(text) == Tokenizer(run).encode(text)


def test_tokens_added_beside_the_model(tmp_path: Path) -> None:
    size = sentencepiece.SentencePieceProcessor(model_proto=LLAMA).vocab_size()
    added = {"0": {"content": "<unk>"}, str(size): {"content": "<pad>", "special": True}}
    tokenizer = Tokenizer(folder(tmp_path, LLAMA, added_tokens_decoder=added, add_bos_token=False))
    assert tokenizer.vocab_size == size + 1 and not tokenizer.add_bos
    assert tokenizer.encode("<pad>", parse_special=True) == [size] != tokenizer.encode("<pad>")
    for broken in ({"x": {"content": "y"}}, {str(size): "<pad>"}, {str(10**12): {"content": "<pad>"}}):
        with pytest.raises(FormatError):
            Tokenizer(folder(tmp_path, LLAMA, added_tokens_decoder=broken))


def test_what_sterna_does_not_do_is_refused(tmp_path: Path) -> None:
    for options, word in (
        ({"model_type": "char"}, "neither a BPE nor a Unigram model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises"),
        ({"remove_extra_whitespaces": True}, "normalises"),
    ):
        with pytest.raises(UnsupportedError, match=word):
            Tokenizer(folder(tmp_path, train(**options)))


UNIGRAM = train(model_type="unigram", vocab_size=360)


@pytest.mark.filterwarnings("ignore:.*outside its vocabulary")
@pytest.mark.parametrize("whole", [LLAMA, UNIGRAM], ids=["bpe", "unigram"])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_broken_files_are_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    broken = bytearray(whole)
    end = st.integers(len(whole) - 400, len(whole) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        place = st.integers(0, 400) | end | st.integers(0, len(whole) - 1)
        broken[data.draw(place)] = data.draw(st.integers(0, 255))
    del broken[data.draw(st.just(len(whole)) | st.integers(0, len(whole))) :]
    path = tmp_path_factory.mktemp("model")
    try:
        Tokenizer(folder(path, bytes(broken)))
    except SternaError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
