"""A vocabulary from the `tokenizer.*` metadata of a GGUF file (v3; key names as in ggml's docs/gguf.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError, warn
from sterna.model.chat.templates import usable_template
from sterna.model.tokenizer.bpe import byte_level, merges_by_rank, sentencepiece
from sterna.model.tokenizer.pre import PRE, Pre
from sterna.model.tokenizer.special import BYTE_PIECES, SPECIAL_TYPES, TokenType, ends_a_text, ids_of, is_special
from sterna.model.tokenizer.unigram import unigram
from sterna.model.tokenizer.vocabulary import Prefix, Vocabulary, check_lengths
from sterna.model.tokenizer.wordpiece import wordpiece

if TYPE_CHECKING:
    import tokenizers

PREFIX = "tokenizer.ggml."
CHAT_TEMPLATE = "tokenizer.chat_template"
# Generation configs may name more end tokens than GGUF's three keys hold.
EXTRA_EOS = "tokenizer.sterna.eos_token_ids"
# Nor does GGUF say which special tokens take the white space beside them along.
LSTRIP, RSTRIP = "tokenizer.sterna.lstrip_token_ids", "tokenizer.sterna.rstrip_token_ids"
MAX_TOKENS = 1 << 20
"""Four times the largest vocabulary in use: a list beyond it is a broken or hostile file."""
LLAMA3_VOCAB_SIZE = 128256


def from_metadata(metadata: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a file.

    Raises FormatError for metadata that contradicts itself, UnsupportedError for a tokenizer that Sterna does not
    read.
    """
    tokens = _strings(metadata, "tokens", MAX_TOKENS)
    if not tokens:
        raise FormatError("The file has no vocabulary (tokenizer.ggml.tokens is missing or empty).")
    check_lengths(tokens)
    reader = _reader(metadata, tokens)
    types = _types(metadata, tokens)
    for byte in ids_of(types, TokenType.BYTE):
        if tokens[byte] not in BYTE_PIECES and reader is not _byte_level:
            raise FormatError(f"Token {byte} claims to be a byte, but is not written like one (<0x00> to <0xFF>).")
    ids = {name: _token_id(metadata, name, tokens) for name in ("bos", "eos", "eot", "eom", "unknown")}
    # A token that begins or ends texts is special even where the file calls it ordinary.
    for token in (ids["bos"], ids["eos"], ids["eot"], ids["eom"]):
        if token is not None and types[token] != TokenType.UNKNOWN:
            types[token] = TokenType.CONTROL
    special = {tokens[token]: token for token in ids_of(types, *SPECIAL_TYPES)}
    eos = {
        token
        for token in (ids["eos"], ids["eot"], ids["eom"], *_token_ids(metadata, EXTRA_EOS, tokens))
        if token is not None
    }
    template = metadata.get(CHAT_TEMPLATE)
    if template is not None and not isinstance(template, str):
        raise FormatError(f"{CHAT_TEMPLATE} is no text.")
    template = usable_template(template, special)
    metadata = {key: value for key, value in metadata.items() if key != CHAT_TEMPLATE}
    metadata |= {} if template is None else {CHAT_TEMPLATE: template}
    return reader(
        metadata,
        tokens=tokens,
        types=types,
        bos_id=ids["bos"],
        eos_id=ids["eos"],
        suffix_id=ids["eos"] if _value(metadata, "add_eos_token", bool, reader is _unigram) else None,
        eos_ids=frozenset(eos) | ends_a_text(special),
        chat_template=template,
        lstrip=frozenset(_token_ids(metadata, LSTRIP, tokens)),
        rstrip=frozenset(_token_ids(metadata, RSTRIP, tokens)) | _phi3_rstrip(metadata, special),
    )


def _phi3_rstrip(metadata: Mapping[str, Any], special: Mapping[str, int]) -> frozenset[int]:
    """Phi-3's special tokens take the line end after them along. Its GGUF files do not say so; llama.cpp goes by the
    model's name, too."""
    name = metadata.get("general.name")
    if not isinstance(name, str) or not re.search("phi[- ]?3", name, re.IGNORECASE):
        return frozenset()
    return frozenset(token for text, token in special.items() if text not in ("<unk>", "<s>", "<|endoftext|>"))


def _reader(metadata: Mapping[str, Any], tokens: list[str]) -> Callable[..., Vocabulary]:
    """The function for a kind of vocabulary."""
    model = _value(metadata, "model", str, "gpt2")
    readers: dict[str, Callable[..., Vocabulary]] = {
        "gpt2": _byte_level,
        "llama": _sentencepiece,
        "gemma4": _merged_pieces,
        "t5": _unigram,
        "bert": _wordpiece,
    }
    if model not in readers:
        raise UnsupportedError(
            f"The tokenizer model {model!r} is not supported; gpt2 (byte-level BPE), llama (SentencePiece's BPE), "
            "gemma4 (the same with merges), t5 (Unigram) and bert (WordPiece) are."
        )
    # bitnet.cpp's converter writes Gemma's SentencePiece vocabulary, with bytes as <0x00>, under the name of byte-level
    # BPE.
    if model == "gpt2" and ("<0x00>" in tokens and "Ġ" not in tokens or _pre(metadata, tokens)[1].pieces):
        return _merged_pieces
    return readers[model]


def _pre(metadata: Mapping[str, Any], tokens: list[str]) -> tuple[str, Pre]:
    """The pre type of a byte-level vocabulary: its name and what it stands for."""
    name = _value(metadata, "pre", str, "llama-bpe" if len(tokens) == LLAMA3_VOCAB_SIZE else "default")
    if name not in PRE:
        # Names with equal values count once: the sentence has to stay readable.
        known = {pre: name for name, pre in reversed(PRE.items())}
        raise UnsupportedError(
            f"The pre-tokenizer type {name!r} is unknown; Sterna knows {len(PRE)} names, which cut as one of "
            f"{', '.join(reversed(known.values()))}."
        )
    return name, PRE[name]


def _merges(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, ranks_are_ids: bool) -> list[str]:
    """The merges of a file ("left right"), or those that follow from the ids.

    A list that is there and empty is what converters make of a vocabulary that never merges; llama.cpp takes it too.
    """
    if PREFIX + "merges" in metadata:
        return _strings(metadata, "merges", 4 * MAX_TOKENS)
    ranks = {tokens[token]: token for token in ids_of(types, TokenType.NORMAL)}
    if all(len(text) == 1 for text in ranks):
        return []
    if not ranks_are_ids:
        raise FormatError(
            "The file's BPE vocabulary has no merges (tokenizer.ggml.merges), without which no text can be encoded: "
            "convert the model again from its original files."
        )
    return [f"{left} {right}" for left, right in merges_by_rank(ranks, ranks)]


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, **common: Any) -> Vocabulary:
    name, pre = _pre(metadata, tokens)
    # Special tokens are no part of the BPE vocabulary, so no typed text can become one.
    in_text = np.flatnonzero(~np.isin(types, SPECIAL_TYPES)).tolist()
    vocab = {tokens[token]: token for token in in_text}
    merges = _merges(metadata, tokens, types, pre.ranks_are_ids)
    user_defined = [tokens[token] for token in ids_of(types, TokenType.USER_DEFINED)]
    encoder = byte_level(vocab, merges, pre, user_defined)
    keys = {"pre": name, "merges": metadata.get(PREFIX + "merges", [])}
    return _vocabulary(metadata, types, encoder, Prefix.NONE, pre.add_bos, keys, byte_level=True, **common)


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, **common: Any) -> Vocabulary:
    scores = _scores(metadata, len(tokens))
    unknown = next((tokens[token] for token in ids_of(types, TokenType.UNKNOWN) if tokens[token]), None)
    space_prefix = _value(metadata, "add_space_prefix", bool, True)
    encoder = sentencepiece(tokens, types, unknown, scores=scores.tolist())
    prefix = Prefix.EACH_RUN if space_prefix else Prefix.NONE
    keys = {"scores": scores, "add_space_prefix": space_prefix}
    return _vocabulary(metadata, types, encoder, prefix, True, keys, **common)


def _merged_pieces(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, **common: Any) -> Vocabulary:
    """Gemma's vocabulary with merges instead of scores: no space before a text, BOS unless the file says no."""
    types[[token for token, text in enumerate(tokens) if text in BYTE_PIECES]] = TokenType.BYTE
    pre = PRE.get(_value(metadata, "pre", str, "gemma4"), PRE["gemma4"])
    encoder = sentencepiece(tokens, types, None, merges=_merges(metadata, tokens, types, False))
    keys = {"merges": metadata.get(PREFIX + "merges", [])}
    return _vocabulary(metadata, types, encoder, Prefix.NONE, pre.add_bos or not pre.pieces, keys, **common)


def _unigram(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, **common: Any) -> Vocabulary:
    """SentencePiece's Unigram: no BOS and an end token, unless the file says otherwise."""
    scores, charsmap = _scores(metadata, len(tokens)), _bytes(metadata, "precompiled_charsmap")
    rules = {
        "remove_extra_whitespaces": _value(metadata, "remove_extra_whitespaces", bool, False),
        "add_space_prefix": _value(metadata, "add_space_prefix", bool, True),
    }
    encoder = unigram(tokens, types, scores.tolist(), charsmap.tobytes(), *rules.values())
    prefix = Prefix.LIBRARY if rules["add_space_prefix"] else Prefix.NONE
    keys = {"scores": scores, "precompiled_charsmap": charsmap, **rules}
    return _vocabulary(metadata, types, encoder, prefix, False, keys, **common)


def _wordpiece(metadata: Mapping[str, Any], tokens: list[str], types: np.ndarray, **common: Any) -> Vocabulary:
    """BERT's: [CLS] before a text and [SEP] after it, unless the file says otherwise."""
    first, last, unknown = (_token_id(metadata, name, tokens) for name in ("cls", "seperator", "unknown"))
    if unknown is None:
        raise FormatError("A WordPiece vocabulary needs an unknown token (tokenizer.ggml.unknown_token_id).")
    common["bos_id"] = first if common["bos_id"] is None else common["bos_id"]
    adds_last = _value(metadata, "add_sep_token", bool, True)
    common["suffix_id"] = last if adds_last else None
    types[[token for token in (first, last) if token is not None]] = TokenType.CONTROL
    types[unknown] = TokenType.UNKNOWN
    lowercase = _value(metadata, "normalizer.lowercase", bool, True)
    strip_accents = _value(metadata, "normalizer.strip_accents", bool, lowercase)
    encoder = wordpiece(tokens, types, unknown, lowercase, strip_accents)
    keys = {"normalizer.lowercase": lowercase, "normalizer.strip_accents": strip_accents, "add_sep_token": adds_last}
    return _vocabulary(metadata, types, encoder, Prefix.LIBRARY, True, keys, **common)


def _vocabulary(
    metadata: Mapping[str, Any],
    types: np.ndarray,
    encoder: tokenizers.Tokenizer,
    prefix: Prefix,
    adds_bos: bool,
    keys: Mapping[str, Any],
    byte_level: bool = False,
    **common: Any,
) -> Vocabulary:
    """What all kinds of vocabulary share. `adds_bos`: whether the model wants BOS where the file does not say; `keys`:
    what a file of this kind holds beside the tokens, with its defaults written out."""
    add_bos = _value(metadata, "add_bos_token", bool, adds_bos) and common["bos_id"] is not None
    return Vocabulary(
        tokens=metadata[PREFIX + "tokens"],
        types=types,
        encoder=encoder,
        byte_level=byte_level,
        prefix=prefix,
        add_bos=add_bos,
        gguf_metadata=lambda: _canonical(metadata, types, add_bos, keys),
        **common,
    )


def _canonical(
    metadata: Mapping[str, Any], types: np.ndarray, add_bos: bool, resolved: Mapping[str, Any]
) -> dict[str, Any]:
    """The tokenizer keys of a file, with what was left to defaults written out."""
    special = ("bos", "eos", "eot", "eom", "unknown", "padding", "cls", "seperator", "mask")
    kept = ("model", "pre", "tokens", *(f"{name}_token_id" for name in special))
    keys = {PREFIX + name: metadata[PREFIX + name] for name in kept if PREFIX + name in metadata}
    keys.setdefault(PREFIX + "model", "gpt2")
    if PREFIX + "add_eos_token" in metadata:
        keys[PREFIX + "add_eos_token"] = bool(metadata[PREFIX + "add_eos_token"])
    keys[PREFIX + "token_type"] = types
    keys[PREFIX + "add_bos_token"] = add_bos
    keys |= {PREFIX + name: value for name, value in resolved.items()}
    return keys | {name: metadata[name] for name in (CHAT_TEMPLATE, EXTRA_EOS, LSTRIP, RSTRIP) if name in metadata}


def _types(metadata: Mapping[str, Any], tokens: list[str]) -> np.ndarray:
    given = _numbers(metadata, "token_type", "iu", len(tokens))
    if given is None:
        return np.full(len(tokens), TokenType.NORMAL, dtype=np.int32)
    types = given.astype(np.int32)
    for token in ids_of(types, TokenType.USER_DEFINED):
        if is_special(tokens[token], TokenType.USER_DEFINED):
            types[token] = TokenType.CONTROL
    return types


def _token_id(metadata: Mapping[str, Any], name: str, tokens: list[str]) -> int | None:
    """A special token's id; None where the file has none, or, with a warning, one outside the vocabulary.

    llama.cpp drops such an id too. -1, also as an unsigned number, is how some converters write "none".
    """
    token = _value(metadata, f"{name}_token_id", int, None)
    if token is None or token in (-1, 2**32 - 1):
        return None
    if not 0 <= token < len(tokens):
        warn(f"The file's {name} token {token} is outside its vocabulary of {len(tokens)} tokens and is left out.")
        return None
    return token


def _token_ids(metadata: Mapping[str, Any], key: str, tokens: list[str]) -> list[int]:
    ids = metadata.get(key, ())
    return [int(token) for token in ids if isinstance(token, int | np.integer) and 0 <= token < len(tokens)]


def _value(metadata: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = metadata.get(PREFIX + name, default)
    if isinstance(value, np.generic):
        value = value.item()
    if value is not default and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise FormatError(f"{PREFIX}{name} is a {type(value).__name__} where a {kind.__name__} is expected.")
    return value


def _scores(metadata: Mapping[str, Any], length: int) -> np.ndarray:
    scores = _numbers(metadata, "scores", "f", length)
    if scores is None or not np.isfinite(scores).all():
        raise FormatError("A SentencePiece vocabulary needs a finite score for each token (tokenizer.ggml.scores).")
    return scores


def _bytes(metadata: Mapping[str, Any], name: str) -> np.ndarray:
    """An array of bytes, signed or not in the file; empty where it has none."""
    value = metadata.get(PREFIX + name, np.empty(0, np.uint8))
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype not in (np.int8, np.uint8):
        raise FormatError(f"{PREFIX}{name} is no array of bytes.")
    return value.view(np.uint8)


def _strings(metadata: Mapping[str, Any], name: str, limit: int) -> list[str]:
    """A new list, empty where the file has none; the sequence in `metadata` may take less memory where it is kept."""
    value = metadata.get(PREFIX + name, [])
    fits = isinstance(value, Sequence) and not isinstance(value, str) and len(value) <= limit
    strings = list(value) if fits else []
    if not fits or not set(map(type, strings)) <= {str}:
        raise FormatError(f"{PREFIX}{name} is no list of at most {limit} strings.")
    return strings


def _numbers(metadata: Mapping[str, Any], name: str, kinds: str, length: int) -> np.ndarray | None:
    """A numeric array with one entry a token; `kinds` are the numpy dtype kinds allowed."""
    value = metadata.get(PREFIX + name)
    if value is None:
        return None
    if not isinstance(value, np.ndarray | list | tuple) or len(value) != length:
        raise FormatError(f"{PREFIX}{name} is no array of {length} numbers, one for each token.")
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.shape != (length,) or array.dtype.kind not in kinds:
        raise FormatError(f"{PREFIX}{name} is no array of {length} numbers of the kind that belongs there.")
    return array
