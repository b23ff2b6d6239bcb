"""A vocabulary from Hugging Face files: tokenizer.json, or a folder with its configs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.model.chat.templates import usable_template
from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.gguf import CHAT_TEMPLATE, EXTRA_EOS, LSTRIP, MAX_TOKENS, PREFIX, RSTRIP, from_metadata
from sterna.model.tokenizer.hf_settings import Settings, read_settings
from sterna.model.tokenizer.identify import identify, pre_steps
from sterna.model.tokenizer.special import BYTE_PIECES, SPECIAL_TYPES, TokenType, ends_a_text, ids_of, is_special
from sterna.model.tokenizer.spm import read_sentencepiece
from sterna.model.tokenizer.tiktoken import is_tiktoken, read_tiktoken
from sterna.model.tokenizer.vocabulary import Prefix, Vocabulary, check_lengths
from sterna.model.tokenizer.wordpiece import as_gguf_spells

if TYPE_CHECKING:
    import tokenizers

MAX_BYTES = 1 << 26
MAX_COMMAS = 1 << 21
"""The library takes a microsecond and about 60 bytes for each value of a tokenizer.json; large files have 1.3 million
values."""


def from_folder(folder: Path) -> Vocabulary:
    """The vocabulary of tokenizer.json, else of a tokenizer.model (tiktoken's or SentencePiece's), with what the files
    beside it say (`hf_settings.py`)."""
    settings = read_settings(folder)
    if (folder / "tokenizer.json").is_file():
        return from_tokenizer_json(folder / "tokenizer.json", settings)
    model = folder / "tokenizer.model"
    if not model.is_file():
        raise FormatError(f"{folder} has no tokenizer: neither tokenizer.json nor tokenizer.model is in it.")
    metadata = read_tiktoken(model) if is_tiktoken(model) else read_sentencepiece(model, settings)
    metadata |= {} if settings.template is None else {CHAT_TEMPLATE: settings.template}
    tokens, eos = metadata[PREFIX + "tokens"], settings.named("eos_token")
    ends = [*([tokens.index(eos)] if eos in tokens else []), *settings.eos_ids]
    metadata |= {PREFIX + "eos_token_id": ends[0]} if eos in tokens else {}
    return from_metadata(metadata | {EXTRA_EOS: ends})


def from_tokenizer_json(path: Path, settings: Settings) -> Vocabulary:
    """The vocabulary of a file. The `tokenizers` library encodes text exactly as the file says; special tokens are left
    to templates."""
    encoder = _read(path)
    by_text = encoder.get_vocab(with_added_tokens=True)
    size = max(by_text.values(), default=-1) + 1
    if not 0 < size <= MAX_TOKENS:
        raise FormatError(f"{path} has {size} tokens, where 1 to {MAX_TOKENS} are possible.")
    ids = list(by_text.values())
    types = np.full(size, TokenType.UNUSED, dtype=np.int32)
    types[ids] = TokenType.NORMAL
    texts = np.empty(size, dtype=object)
    texts[ids] = list(by_text)
    tokens = texts.tolist()
    for token in ids_of(types, TokenType.UNUSED):
        tokens[token] = f"[PAD{token}]"
    check_lengths(tokens)
    lstrip, rstrip = set(), set()
    for token, added in encoder.get_added_tokens_decoder().items():
        lstrip |= {token} if added.lstrip else set()
        rstrip |= {token} if added.rstrip else set()
        special = added.special or is_special(added.content, TokenType.USER_DEFINED)
        types[token] = TokenType.CONTROL if special else TokenType.USER_DEFINED
    byte_level = _is_byte_level(encoder, path)
    if _is_wordpiece(encoder):
        for token in ids_of(types, TokenType.NORMAL):
            tokens[token] = as_gguf_spells(tokens[token])
    if not byte_level:
        types[[by_text[piece] for piece in BYTE_PIECES.keys() & by_text.keys()]] = TokenType.BYTE
    first, last = _around_a_text(encoder)
    bos_id, adds_bos = _bos(first, by_text, settings)
    named_eos = by_text.get(settings.named("eos_token"))
    suffix_id = named_eos if last is None and settings.config.get("add_eos_token") is True else last
    eos = [token for token in (named_eos, *settings.eos_ids) if token is not None and 0 <= token < size]
    types[[token for token in (named_eos, bos_id) if token is not None]] = TokenType.CONTROL
    special_ids = {tokens[token]: token for token in ids_of(types, *SPECIAL_TYPES)}
    _leave_to_templates(encoder, special_ids)
    eos_ids = frozenset(eos) | ends_a_text(special_ids)
    eos_id = next(iter([*eos, *sorted(eos_ids)]), None)

    template = usable_template(settings.template, special_ids)
    prefix = Prefix.NONE if byte_level else _take_prefix_over(encoder)

    def metadata() -> dict[str, Any]:
        keys = (
            _byte_level_metadata(encoder, path)
            if byte_level
            else _sentencepiece_metadata(encoder, tokens, prefix, path)
        )
        keys |= {PREFIX + "tokens": tokens, PREFIX + "token_type": types}
        keys |= {PREFIX + "add_bos_token": adds_bos, EXTRA_EOS: sorted(eos_ids)}
        keys |= {} if bos_id is None else {PREFIX + "bos_token_id": bos_id}
        keys |= {} if eos_id is None else {PREFIX + "eos_token_id": eos_id}
        # GGUF has one key for both the end token that is generated and the one that is put after a text.
        keys |= {} if suffix_id is None else {PREFIX + "eos_token_id": suffix_id, PREFIX + "add_eos_token": True}
        keys |= {LSTRIP: sorted(lstrip)} if lstrip else {}
        keys |= {RSTRIP: sorted(rstrip)} if rstrip else {}
        return keys | ({} if template is None else {CHAT_TEMPLATE: template})

    return Vocabulary(
        tokens=tokens,
        types=types,
        encoder=encoder,
        byte_level=byte_level,
        prefix=prefix,
        bos_id=bos_id,
        eos_id=eos_id,
        eos_ids=eos_ids,
        add_bos=adds_bos,
        suffix_id=suffix_id,
        chat_template=template,
        lstrip=frozenset(lstrip),
        rstrip=frozenset(rstrip),
        gguf_metadata=metadata,
    )


def _read(path: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES or text.count(b",") > MAX_COMMAS:
        raise FormatError(f"{path} is larger than any tokenizer.json.")
    if _MAY_HAVE_PREFIX.search(text):
        _check_merges(text, path)
    with library_errors(f"{path} is no tokenizer.json that the tokenizers library reads"):
        encoder = Tokenizer.from_buffer(text)
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


_MAY_HAVE_PREFIX = re.compile(rb'"continuing_subword_prefix"\s*:\s*(?!null|"")|\\u00[2-7]')
"""In a file without it, no piece has a prefix where it continues a word, nor is that key spelled with escapes."""


def _check_merges(text: bytes, path: Path) -> None:
    """Raises FormatError for a merge whose right part does not begin with the prefix of continuing pieces: the library
    cuts as many bytes off without looking, and what is left ends the process where it is no UTF-8."""
    with library_errors(f"{path} is no tokenizer.json"):
        model = json.loads(text)["model"]
        prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if not isinstance(prefix, str) or not isinstance(merges, list):
        return
    for merge in merges:
        right = merge.split(" ") if isinstance(merge, str) else merge
        if not (isinstance(right, list) and right and isinstance(right[-1], str) and right[-1].startswith(prefix)):
            raise FormatError(
                f"{path} has a merge whose right part lacks the continuing_subword_prefix {prefix!r}: "
                f"{str(merge)[:60]!r}."
            )


def _state(component: Any) -> dict[str, Any] | None:
    """The JSON form of a part of a `tokenizers` pipeline."""
    return None if component is None else json.loads(component.__getstate__())


def _is_byte_level(encoder: tokenizers.Tokenizer, path: Path) -> bool:
    decoder = _state(encoder.decoder) or {"type": "none"}
    steps = decoder.get("decoders", [decoder])
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return True
    if kinds & {"Metaspace", "ByteFallback", "WordPiece"}:
        return False
    raise UnsupportedError(
        f"{path} is neither byte-level BPE nor SentencePiece nor WordPiece (its decoder is {decoder['type']})."
    )


def _is_wordpiece(encoder: tokenizers.Tokenizer) -> bool:
    return type(encoder.model).__name__ == "WordPiece"


def _take_prefix_over(encoder: tokenizers.Tokenizer) -> Prefix:
    """Where the space before text goes. A prompt made by a template is encoded run by run, and the library cannot know
    which run is the first: Sterna takes `prepend_scheme: first` over from it.
    """
    from tokenizers import pre_tokenizers

    steps = pre_steps(_state(encoder.pre_tokenizer))
    if _is_wordpiece(encoder):
        return Prefix.LIBRARY
    for step in steps:
        if step["type"] == "Metaspace":
            scheme = step.get("prepend_scheme", "always")
            if scheme == "first" and len(steps) == 1:
                encoder.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=step.get("split", True))
                return Prefix.FIRST_RUN
            return Prefix.NONE if scheme == "never" else Prefix.LIBRARY
    normalizer = _state(encoder.normalizer) or {}
    normalizers = normalizer.get("normalizers", [normalizer])
    return Prefix.LIBRARY if any(step.get("type") == "Prepend" for step in normalizers) else Prefix.NONE


def _leave_to_templates(encoder: tokenizers.Tokenizer, special: Mapping[str, int]) -> None:
    """Makes the encoder find no special token in text, not even one that the file does not flag as special."""
    from tokenizers import AddedToken, models

    encoder.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in special])
    encoder.encode_special_tokens = True
    kind = type(encoder.model).__name__
    if kind not in ("Unigram", "WordPiece"):
        return  # merges lead to no special token
    # Pieces are found in a text whatever their type. A place among Unigram's is an id, so a special one there becomes a
    # text with a space, which no text has once it is cut.
    model = _state(encoder.model) or {}
    with library_errors("The tokenizer.json has special tokens that cannot be kept out of texts"):
        if kind == "Unigram":
            pieces = [(f" {i}" if text in special else text, score) for i, (text, score) in enumerate(model["vocab"])]
            encoder.model = models.Unigram(pieces, unk_id=model["unk_id"], byte_fallback=model["byte_fallback"])
        else:
            names = ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
            words = {text: i for text, i in model["vocab"].items() if text not in special or text == model["unk_token"]}
            encoder.model = models.WordPiece(words, **{name: model[name] for name in names})


def _around_a_text(encoder: tokenizers.Tokenizer) -> tuple[int | None, int | None]:
    """The first token that the post-processor puts before a text and the last that it puts after it, None for none."""
    with library_errors("The tokenizer.json cannot encode a text"):
        plain, full = (encoder.encode("a", add_special_tokens=add).ids for add in (False, True))
    if len(full) <= len(plain):
        return None, None
    return full[0] if full[:1] != plain[:1] else None, full[-1] if full[-1:] != plain[-1:] else None


def _bos(processed: int | None, by_text: Mapping[str, int], settings: Settings) -> tuple[int | None, bool]:
    """The token that begins a text, by the post-processor, else the configs; and whether the model wants it."""
    candidates = (processed, by_text.get(settings.named("bos_token")), *settings.bos_ids)
    known = set(by_text.values())
    bos = next((token for token in candidates if token in known), None)
    wanted = settings.config.get("add_bos_token")
    return bos, bos is not None and (wanted if isinstance(wanted, bool) else processed is not None)


def _byte_level_metadata(encoder: tokenizers.Tokenizer, path: Path) -> dict[str, Any]:
    """Model, pre type and merges. A normalizer (Qwen's NFC) has no place in GGUF; llama.cpp's files drop it too."""
    state = json.loads(encoder.to_str())
    pre = identify(state["pre_tokenizer"], state["model"].get("ignore_merges", False))
    if pre is None or state["model"]["type"] != "BPE":
        raise UnsupportedError(f"The pre-tokenizer of {path} has no name in GGUF that Sterna knows.")
    return {
        PREFIX + "model": "gpt2",
        PREFIX + "pre": pre,
        PREFIX + "merges": [" ".join(pair) for pair in _pairs(state["model"])],
    }


def _pairs(model: Mapping[str, Any]) -> list[list[str]]:
    """The merges of a tokenizer.json's BPE, which files write as "left right" or as a list of two."""
    return [merge if isinstance(merge, list) else merge.split(" ", 1) for merge in model["merges"]]


def _sentencepiece_metadata(
    encoder: tokenizers.Tokenizer, tokens: list[str], prefix: Prefix, path: Path
) -> dict[str, Any]:
    """Model and scores. tokenizer.json has a list of merges instead of scores: a piece's score follows from the first
    merge that makes it.

    GGUF knows a space before each run of text or none, so a space before only the first run becomes one before each.
    """
    model = json.loads(encoder.to_str())["model"]
    if model["type"] != "BPE" or not model.get("byte_fallback"):
        raise UnsupportedError(
            f"{path} is a {model['type']} vocabulary; of those that are not byte-level Sterna writes only BPE with "
            "byte fallback into GGUF."
        )
    pairs = _pairs(model)
    rank: dict[str, int] = {}
    for number, pair in enumerate(pairs):
        rank.setdefault("".join(pair), number)
    scores = np.array([-float(rank.get(token, len(pairs))) for token in tokens], np.float32)
    keys = {
        PREFIX + "model": "llama",
        PREFIX + "scores": scores,
        PREFIX + "add_space_prefix": prefix is not Prefix.NONE,
    }
    unknown = model.get("unk_token")
    return keys | ({PREFIX + "unknown_token_id": tokens.index(unknown)} if unknown in tokens else {})
