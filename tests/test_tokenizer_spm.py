"""SentencePiece vocabularies against a plain implementation of its BPE."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from sterna.errors import FormatError
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.bpe import merges_by_rank
from tests.tiny_vocabularies import SHARED, TEXT, sentencepiece_metadata

METADATA = sentencepiece_metadata()


def reference(metadata: dict, text: str) -> list[int]:
    """Merges the neighbours whose piece scores highest, the leftmost of equals, until none can be merged."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    scores = metadata["tokenizer.ggml.scores"]
    ids = {token: i for i, token in enumerate(tokens) if types[i] in (1, 4, 5)}
    symbols = list(" " + text) if text else []
    symbols = [symbol.replace(" ", "▁") for symbol in symbols]
    while True:
        pairs = [(-scores[ids[a + b]], i) for i, (a, b) in enumerate(zip(symbols, symbols[1:])) if a + b in ids]  # noqa: B905
        if not pairs:
            break
        _, i = min(pairs)
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    out = []
    for symbol in symbols:
        out += [ids[symbol]] if symbol in ids else [tokens.index(f"<0x{byte:02X}>") for byte in symbol.encode()]
    return out


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_gguf_metadata(METADATA)


@given(st.text(alphabet="ab the ing.!äжñ🦙"))
@settings(max_examples=300, deadline=None)
def test_ids_are_sentencepieces(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text, add_special=False) == reference(METADATA, text)


@given(st.text(alphabet="aab "))
@settings(max_examples=300, deadline=None)
def test_runs_of_one_character_merge_from_the_left(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text, add_special=False) == reference(METADATA, text)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_comes_back_even_the_space_mark(tokenizer: Tokenizer, text: str) -> None:
    for each in (text, text + "▁", "▁" + text):
        assert tokenizer.decode(tokenizer.encode(each)) == each


@given(st.lists(st.integers(0, len(METADATA["tokenizer.ggml.tokens"]) - 1)))
@settings(max_examples=200, deadline=None)
def test_a_stream_is_the_decoded_whole(tokenizer: Tokenizer, ids: list[int]) -> None:
    for continuation in (False, True):
        stream = tokenizer.stream(continuation=continuation)
        assert "".join([*map(stream.push, ids), stream.flush()]) == tokenizer.decode(ids, continuation=continuation)


def test_the_space_before_a_text_is_undone_but_not_inside_one(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("the", add_special=False)
    assert [METADATA["tokenizer.ggml.tokens"][token] for token in ids] == ["▁the"]
    assert tokenizer.decode(ids) == "the"
    assert tokenizer.decode(ids, continuation=True) == " the"
    without = Tokenizer.from_gguf_metadata(METADATA | {"tokenizer.ggml.add_space_prefix": False})
    assert without.decode(without.encode("the")) == "the"
    assert without.encode("the", add_special=False) != ids


def test_typed_special_tokens_and_byte_names_stay_text(tokenizer: Tokenizer) -> None:
    for text in ("<s>", "</s>", "<unk>", "<0x41>"):
        ids = tokenizer.encode(text, add_special=False)
        assert len(ids) > 3
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("</s>", parse_special=True) == [1, 2]


def test_own_metadata_gives_an_equal_tokenizer(tokenizer: Tokenizer) -> None:
    again = Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())
    assert again.encode("the ñ <s>") == tokenizer.encode("the ñ <s>")
    assert (again.bos_id, again.eos_ids) == (1, {2})


def test_scores_are_needed_and_finite() -> None:
    for scores in (None, METADATA["tokenizer.ggml.scores"] * float("nan"), METADATA["tokenizer.ggml.scores"][1:]):
        with pytest.raises(FormatError):
            Tokenizer.from_gguf_metadata(METADATA | {"tokenizer.ggml.scores": scores})


@pytest.mark.skipif(not (SHARED / "vocab").is_dir(), reason="../shared/vocab is not there (a fixture of the project)")
def test_llamas_own_vocabulary_merges_as_sentencepiece_does() -> None:
    from sterna.files.gguf.reader import read_gguf

    metadata = read_gguf(SHARED / "vocab" / "ggml-vocab-llama-spm.gguf").metadata
    tokenizer = Tokenizer.from_gguf_metadata(metadata)

    @given(st.text(alphabet=st.sampled_from("aaeinrst  \n\t==--__..\"'1230ABéжслов我工作")))
    @settings(max_examples=150, deadline=None)
    def equal(text: str) -> None:
        assert tokenizer.encode(text, add_special=False) == reference(metadata, text)

    equal()


def as_tokenizer_json(path: Path, legacy: bool) -> Path:
    """The same vocabulary as transformers' converters write it: a prefix by normalizer (legacy) or by Metaspace."""
    tokens = METADATA["tokenizer.ggml.tokens"]
    ids = {token: i for i, token in enumerate(tokens)}
    words = {token: ids[token] for token in tokens[259:]}
    merges = merges_by_rank(words, words)
    library = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, byte_fallback=True, unk_token="<unk>"))
    if legacy:
        library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    library.decoder = decoders.Sequence(steps)
    library.add_special_tokens(["<unk>", "<s>"])
    library.add_tokens(["</s>"])  # as in Phi-3's file, not flagged as special
    library.save(str(path))
    return path


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("text", ["the thing", " the", "aaaa ñ", "<s></s>", "a\n b"])
def test_tokenizer_json_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path, legacy: bool, text: str) -> None:
    read = Tokenizer(as_tokenizer_json(tmp_path / "tokenizer.json", legacy))
    expected = tokenizer.encode(text, add_special=False)
    if not legacy and text.startswith(" "):  # Metaspace adds no second space
        expected = tokenizer.encode(text[1:], add_special=False)
    assert read.encode(text, add_special=False) == expected
    assert read.decode(expected) == tokenizer.decode(expected)
    back = Tokenizer.from_gguf_metadata(read.gguf_metadata())  # GGUF's scores, derived from the merges
    assert back.encode(text, add_special=False) == tokenizer.encode(text, add_special=False)


def test_a_space_goes_before_each_run_of_text_or_only_the_first(tokenizer: Tokenizer, tmp_path: Path) -> None:
    space_the = METADATA["tokenizer.ggml.tokens"].index("▁the")
    first = Tokenizer(as_tokenizer_json(tmp_path / "tokenizer.json", legacy=False))
    assert tokenizer.encode("the<s>the", False, parse_special=True) == [space_the, 1, space_the]
    tail = first.encode("the<s>the", False, parse_special=True)
    assert tail[:2] == [space_the, 1]
    assert tail[2:] != [space_the]
    assert first.decode(tail) == "thethe"


def gemma_json() -> str:
    """A tokenizer.json in Gemma's manner: spaces become "▁" first, bytes are pieces, no space before a text."""
    library = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    library.normalizer = normalizers.Replace(" ", "▁")
    library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    library.train_from_iterator(TEXT, trainer)
    state = json.loads(library.to_str())
    state["added_tokens"] = state["added_tokens"][:4]
    runs = {"id": len(state["model"]["vocab"]), "content": "▁▁▁▁"}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    state["added_tokens"].append(runs | flags)
    return json.dumps(state)


def test_gemmas_pieces_by_the_library_and_under_the_name_of_byte_level_bpe(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(gemma_json())
    configs = {"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(configs))
    read = Tokenizer(tmp_path)
    library = tokenizers.Tokenizer.from_str(gemma_json())
    ids = library.get_vocab(with_added_tokens=True)
    special = {token: 3 for token in ("<pad>", "<eos>", "<bos>", "<unk>")}
    # As bitnet.cpp's converter writes them: bytes are no byte tokens, runs of spaces are user-defined and plain.
    tokens = sorted(ids, key=lambda token: ids[token])
    as_gguf = Tokenizer.from_gguf_metadata(
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": [token.replace("▁", " ") if token == "▁▁▁▁" else token for token in tokens],
            "tokenizer.ggml.token_type": [special.get(token, 4 if token == "▁▁▁▁" else 1) for token in tokens],
            "tokenizer.ggml.merges": [" ".join(pair) for pair in json.loads(gemma_json())["model"]["merges"]],
            "tokenizer.ggml.bos_token_id": ids["<bos>"],
            "tokenizer.ggml.eos_token_id": ids["<eos>"],
        }
    )
    assert read.bos_id == as_gguf.bos_id == ids["<bos>"] and as_gguf.eos_ids == {ids["<eos>"]}

    @given(st.text(alphabet=st.sampled_from("thequick foxit'ssaid:\n  ñ工🦙")))
    @settings(max_examples=300, deadline=None)
    def equal(text: str) -> None:
        expected = [ids["<bos>"], *library.encode(text, add_special_tokens=False).ids]
        assert read.encode(text) == as_gguf.encode(text) == expected
        assert read.decode(expected) == as_gguf.decode(expected) == text

    equal()
    again = Tokenizer.from_gguf_metadata(as_gguf.gguf_metadata())
    assert again.encode("the quick fox ñ") == as_gguf.encode("the quick fox ñ")
