"""Pre-tokenizers by name: `PRE` against tokenizer.json pipelines, another engine of expressions, and pieces.

`data/pre_tokenizers.json` has the pre-tokenizers of the models behind the names, as their tokenizer.json files have
them, or as llama.cpp's source and discussions quote those files.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import regex
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from sterna.errors import UnsupportedError
from sterna.files.gguf import write_gguf
from sterna.model.tokenizer import Tokenizer
from sterna.model.tokenizer.identify import identify
from sterna.model.tokenizer.pre import PRE

PUBLISHED: dict[str, dict[str, Any]] = {
    name: model
    for model in json.loads((Path(__file__).parent / "data" / "pre_tokenizers.json").read_text())
    for name in model["names"]
}
CUT = [name for name, pre in PRE.items() if not pre.pieces]
HARD = [
    "I'm sure we'LL see: it'S don't, DON'T y'all's! '' 's 'S ’s",
    "1 12 123 1234 12345 123456 1234567 1,234.5 3.14 x2y33z444 v1.2.3 ½ 4½ x² ١٢٣٤٥ ٣ १२३४ Ⅻ 一二三 ①②",
    "HelloWorld helloWORLD HTTPServer ÉTÉ été ǅungla İstanbul ŉ straße ﬁne ΑΒΓαβγ Привет МИР",
    "我想在apple工作1314151天～ 世界A世 東京タワー、カタカナ・ひらがな。「引用」 한국어 텍스트 ㄱㄴ ㄅㄆ ｶﾅ 々 𠀀𠮷",
    "كلمة عربيّة مُشكّلة ٤٥٦، نص؟ हिन्दी में क्ष กำลัง ພາສາ ខ្មែរ မြန်မာ తెలుగు",
    "e\u0301te\u0301 a\u0300\u0301b x\u20dd \u0301start n\u0303o Cửa Việt",
    "\u200bzero\u200c\u200dwidth\u2060\ufeff soft\u00adhyphen \u202eRTL\u202c \x00\x01\x7f\x85\ufffd",
    "  two   three    four\t\ttabs \t mixed\n\n\nlines\r\n\r\ncr\r\n  indented\n \n \n\n end   ",
    "a\u00a0b\u2003c\u3000d\u2028e\u2029f \u00a0 \u3000\u3000x",
    "🚀 (normal) 😶\u200d🌫️ 👩🏽\u200d💻 🇩🇪 ✅ ☎️ 🦙.cpp",
    "foo(bar)[baz]{qux}; x+=1; a->b; //comment /* c */ #!/bin/sh $PATH <|eot|> `code` ~~~ ^_^ \\n",
    "!!!...???---===___''''\"\"\"\"````  ()[]{} ¿¡ “quoted” ‘x’ … — – 、。！？",
    "IMGIMGABCZ <sentinel:12> IMGIMGZ",
    "",
    " ",
    "\n",
    "w" * 60 + " " * 600 + "1" * 40 + "\n" * 20,
]
# Letters of several scripts, marks, digits, spaces and signs far more often than chance would have them.
TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            "aAzZéÉßǅΩжЖ世界カひ한ㄱกमक\u0301\u093e019٣½Ⅻ  \t\n\r\u00a0\u3000'’sStTdDlLrRvVeEmM.,!?;:-_/\\"
            "<>$+=^|~`。、\u200d\ufe0f😁"
        ),
        st.characters(exclude_categories=["Cs", "Cn"]),
    ),
    max_size=40,
)


def cuts(name: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE[name].patterns])


@cache
def merging() -> tuple[dict[str, int], list[str]]:
    """A vocabulary that merges across everything: wherever two pre-tokenizers cut differently, its ids differ."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False, max_token_length=12)
    tokenizer.train_from_iterator(HARD * 3, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [" ".join(pair) for pair in model["merges"]]


@cache
def library(name: str) -> tokenizers.Tokenizer:
    """The tokenizer.json that a model with this pre-tokenizer has."""
    vocab, merges = merging()
    pairs = [tuple(merge.split(" ")) for merge in merges]
    model = models.BPE(vocab, pairs, ignore_merges=PUBLISHED[name]["ignore_merges"])
    state = json.loads(tokenizers.Tokenizer(model).to_str()) | {"pre_tokenizer": PUBLISHED[name]["pre_tokenizer"]}
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def gguf(name: str) -> dict[str, Any]:
    vocab, merges = merging()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.tokens": sorted(vocab, key=vocab.__getitem__),
        "tokenizer.ggml.merges": merges,
    }


@cache
def ours(name: str) -> Tokenizer:
    return Tokenizer.from_gguf_metadata(gguf(name))


def comparable(name: str, text: str) -> str:
    """Falcon cuts digits after the text has become bytes, some of which the library takes for digits ("²" is one).

    Its vocabulary has no merges across those, and the merging one here has.
    """
    if not name.startswith("falcon"):
        return text
    return "".join(character for character in text if not set(character.encode()) & set(b"\xb2\xb3\xb9\xbc\xbd\xbe"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_ids_are_those_of_the_models_own_pipeline(name: str) -> None:
    for text in HARD:
        text = comparable(name, text)
        assert ours(name).encode(text) == library(name).encode(text).ids
        assert ours(name).decode(ours(name).encode(text)) == text


@pytest.mark.parametrize("name", {id(PRE[name]): name for name in PUBLISHED}.values())
@given(text=TEXTS)
@settings(max_examples=60, deadline=None)
def test_ids_are_those_of_the_models_own_pipeline_for_any_text(name: str, text: str) -> None:
    text = comparable(name, text)
    assert ours(name).encode(text) == library(name).encode(text).ids


@pytest.mark.parametrize("name", CUT)
@given(text=st.text())
@settings(max_examples=25, deadline=None)
def test_every_pre_type_keeps_the_text(name: str, text: str) -> None:
    assert ours(name).decode(ours(name).encode(text)) == text


def other_engine(patterns: tuple[str, ...], text: str) -> list[str]:
    """The pieces that the expressions cut, by Python's `regex`."""
    pieces = [text]
    for pattern in patterns:
        # Of a repeated repetition `{3}+` the library repeats, and `regex` gives nothing back.
        expression = regex.compile(pattern.replace(r"\p{Nd}{3}+", r"(?:\p{Nd}{3})+"), regex.VERSION1)
        pieces = [piece for whole in pieces for piece in cut(expression, whole)]
    return pieces


def cut(expression: regex.Pattern[str], text: str) -> list[str]:
    ends = [0, *(end for match in expression.finditer(text) for end in match.span()), len(text)]
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False) if end > start]


@pytest.mark.parametrize("name", {id(PRE[name]): name for name in CUT}.values())
def test_another_engine_cuts_the_same(name: str) -> None:
    for text in HARD:
        if name in ("tiny_aya", "cohere2moe"):  # whether "½" is part of a word, to \b, the engines see differently
            text = text.replace("½", "").replace("²", "").replace("①②", "")
        pieces = [piece for piece, _ in cuts(name).pre_tokenize_str(text)]
        assert pieces == other_engine(PRE[name].patterns, text)
        assert "".join(pieces) == text


ROUGH = "tekken gpt-4o llama4 kanana2 talkie minimax-m2 tiny_aya cohere2moe kimi-k2 youtu afmoe superbpe".split()
ROUGH += ["deepseek-llm", "deepseek-coder", "falcon"]
"""Names whose expressions llama.cpp's engine knows roughly: other capitals, marks, digits or spaces than ASCII's."""
UNKNOWN_THERE = ["kimi-k25", "falcon_e", "falcon-e", "falcon3"]
"""Names of its converter and of bitnet.cpp alone; and "falcon3", which it reads as Llama 3's."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CUT if name not in UNKNOWN_THERE])
def test_llama_cpp_knows_the_name_and_gives_the_ids(name: str, tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    metadata = gguf(name)
    size = len(metadata["tokenizer.ggml.tokens"])
    metadata["tokenizer.ggml.tokens"] += ["<s>", "</s>"]
    metadata["tokenizer.ggml.token_type"] = np.array([1] * size + [3, 3], np.int32)
    metadata |= {"tokenizer.ggml.bos_token_id": size, "tokenizer.ggml.eos_token_id": size + 1}
    write_gguf(tmp_path / "vocab.gguf", {"general.architecture": "llama"} | metadata, [])
    theirs = llama_cpp.Llama(str(tmp_path / "vocab.gguf"), vocab_only=True, verbose=False)
    tokenizer = Tokenizer(tmp_path / "vocab.gguf")
    for text in HARD:
        if name not in ROUGH or all(character < "\x80" and not character.isdigit() for character in text):
            assert theirs.tokenize(text.encode(), add_bos=True) == tokenizer.encode(text)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_tokenizer_json_is_known_by_its_steps(name: str, tmp_path: Path) -> None:
    found = identify(PUBLISHED[name]["pre_tokenizer"], PUBLISHED[name]["ignore_merges"])
    assert found is not None and PRE[found].patterns == PRE[name].patterns
    assert PRE[found].ignore_merges == PUBLISHED[name]["ignore_merges"] == PRE[name].ignore_merges
    path = tmp_path / "tokenizer.json"
    path.write_text(library(name).to_str())
    metadata = Tokenizer(path).gguf_metadata()
    assert metadata["tokenizer.ggml.pre"] == found
    again = Tokenizer.from_gguf_metadata(metadata)
    for text in HARD:
        assert again.encode(text) == ours(name).encode(text)


@pytest.mark.parametrize("name", CUT)
def test_what_is_written_as_tokenizer_json_is_known_again(name: str, tmp_path: Path) -> None:
    for file, data in ours(name).hf_files(4096).items():
        (tmp_path / file).write_bytes(data)
    again = Tokenizer(tmp_path).gguf_metadata()["tokenizer.ggml.pre"]
    assert (PRE[again].patterns, PRE[again].ignore_merges) == (PRE[name].patterns, PRE[name].ignore_merges)


@pytest.mark.parametrize(
    "steps",
    [
        [{"type": "Whitespace"}],
        [{"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}],
        [{"type": "Punctuation", "behavior": "Removed"}],
        [{"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False}],
        [{"type": "Split", "pattern": {"Regex": r"\p{N}"}, "behavior": "Removed", "invert": True}],
        [{"type": "ByteLevel", "use_regex": False}, {"type": "Punctuation", "behavior": "Contiguous"}],
    ],
)
def test_steps_without_a_name_have_none(steps: list[dict[str, Any]]) -> None:
    assert identify({"type": "Sequence", "pretokenizers": steps}) is None


def test_a_flag_that_no_name_has_takes_the_name_of_the_expressions() -> None:
    assert identify(PUBLISHED["qwen2"]["pre_tokenizer"], ignore_merges=True) == "qwen2"


SENTENCE = "Cafe\u0301s don't ÉTÉ 1234567 世界World"


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("gpt-2", ["Cafe", "\u0301", "s", " don", "'t", " ÉTÉ", " 1234567", " 世界World"]),
        ("llama-bpe", ["Cafe", "\u0301s", " don", "'t", " ÉTÉ", " ", "123", "456", "7", " 世界World"]),
        ("smollm", ["Cafe", "\u0301", "s", " don", "'t", " ÉTÉ", " ", *"1234567", " 世界World"]),
        ("qwen35", ["Cafe\u0301s", " don", "'t", " ÉTÉ", " ", *"1234567", " 世界World"]),
        ("gpt-4o", ["Cafe\u0301s", " don't", " ÉTÉ", " ", "123", "456", "7", " 世界World"]),
        ("tekken", ["Cafe\u0301s", " don", "'t", " ÉTÉ", " ", *"1234567", " 世界World"]),
        ("tiny_aya", ["Cafe\u0301s", " don't", " ÉTÉ", " ", "1", "234", "567", " 世界World"]),
        ("kimi-k2", ["Cafe\u0301s", " don't", " ÉTÉ", " ", "123", "456", "7", " ", "世界", "World"]),
        ("deepseek-v3", ["Cafe\u0301s", " don", "'t", " ÉTÉ", " ", "123", "456", "7", " ", "世界", "World"]),
        ("afmoe", ["Cafe\u0301s", " don", "'t", " ÉTÉ", " ", "1", "234", "567", " ", "世界", "World"]),
        ("superbpe", ["Cafe\u0301s don't ÉTÉ ", "1", "234", "567", " 世界World"]),
        ("exaone-moe", ["Cafe\u0301s don", "'t", " ÉTÉ", " ", *"1234567", " 世界World"]),
        ("bloom", ["Cafe\u0301s", " don't", " ÉTÉ", " 1234567", " 世界World"]),
        ("viking", ["Cafe\u0301s", " don't", " ÉTÉ", " ", *"1234567", " 世界World"]),
        ("falcon", ["Cafe", "\u0301", "s", " don", "'", "t", " ÉTÉ", " ", "123", "456", "7", " 世界World"]),
    ],
)
def test_words_are_cut_as_the_models_do(name: str, pieces: list[str]) -> None:
    assert [text for text, _ in cuts(name).pre_tokenize_str(SENTENCE)] == pieces


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("tekken", ["Hello", "World", " HTTPServer", " don", "'t", " ", "1", "2", "3", " ./", " ÉTÉ"]),
        ("qwen2", ["HelloWorld", " HTTPServer", " don", "'t", " ", "1", "2", "3", " ./", " ÉTÉ"]),
        ("falcon3", ["HelloWorld", " HTTPServer", " don", "'", "t", " ", "1", "2", "3", " ", "./", " ÉTÉ"]),
    ],
)
def test_capitals_cut_words_for_mistral_alone(name: str, pieces: list[str]) -> None:
    """Pieces between which BPE never merges."""
    cut = cuts(name).pre_tokenize_str("HelloWorld HTTPServer don't 123 ./ ÉTÉ")
    assert [text for text, _ in cut] == pieces


def test_kimis_merges_follow_from_the_ids_where_a_file_has_none() -> None:
    metadata = gguf("kimi-k2")
    del metadata["tokenizer.ggml.merges"]
    assert Tokenizer.from_gguf_metadata(metadata).encode(HARD[0]) == ours("kimi-k2").encode(HARD[0])


def test_an_unknown_name_is_refused_in_a_short_sentence_that_names_the_others() -> None:
    with pytest.raises(UnsupportedError, match="'of-tomorrow' is unknown.*llama-bpe.*gpt-2.*smollm") as error:
        Tokenizer.from_gguf_metadata(gguf("of-tomorrow"))
    assert len(str(error.value)) < 600


def test_flags_follow_from_the_name() -> None:
    metadata = gguf("gpt-2") | {"tokenizer.ggml.bos_token_id": 3}
    with_bos = {name for name in CUT if Tokenizer.from_gguf_metadata(metadata | {"tokenizer.ggml.pre": name}).add_bos}
    llama = "llama-bpe llama3 llama-v3 pixtral midm-2.0 lfm2 jina-v5-nano falcon-h1 tekken".split()
    assert with_bos == {*llama, "chameleon"}
    assert {name for name in CUT if PRE[name].ignore_merges} == {
        *llama,
        *("youtu", "minicpm5", "granite-embed-multi-97m"),
    }


@pytest.mark.parametrize(
    "kind", [{"model": "gemma4"}, {"pre": "gemma4"}, {"pre": "granite-embed-multi-311m"}, {"pre": "sarvam-moe"}]
)
def test_pieces_with_merges_are_read_whatever_the_file_calls_them(kind: dict[str, str]) -> None:
    library = tokenizers.Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
    library.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    library.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = ["<pad>", "<bos>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False, limit_alphabet=60)
    library.train_from_iterator([text.replace("\n", " ") for text in HARD], trainer)
    model = json.loads(library.to_str())["model"]
    metadata = {"model": "gpt2", "merges": [" ".join(pair) for pair in model["merges"]], "bos_token_id": 1} | kind
    metadata["tokens"] = sorted(model["vocab"], key=model["vocab"].__getitem__)
    metadata["token_type"] = np.array([3, 3] + [1] * (len(metadata["tokens"]) - 2), np.int32)
    tokenizer = Tokenizer.from_gguf_metadata({f"tokenizer.ggml.{key}": value for key, value in metadata.items()})
    assert tokenizer.add_bos is (kind != {"pre": "sarvam-moe"})
    again = Tokenizer.from_gguf_metadata(tokenizer.gguf_metadata())
    for text in HARD:
        ids = tokenizer.encode(text, add_special=False)
        assert ids == library.encode(text).ids
        assert tokenizer.decode(ids) == text
        assert again.encode(text) == tokenizer.encode(text)


def test_the_documentation_has_every_name() -> None:
    text = (Path(__file__).parents[1] / "docs" / "loading.md").read_text(encoding="utf-8")
    assert {name for name in PRE if f"`{name}`" not in text} == set()
