"""Text to token ids and back, from whatever file a vocabulary comes in.

`Tokenizer(path)` reads a GGUF file, a tokenizer.json, Llama-3's tiktoken file or a Hugging Face folder. Special tokens
are never recognised in text that somebody typed; they enter through `encode_chat` and the model's own template.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sterna.errors import NotFoundError, UnsupportedError
from sterna.files.hub.cache import resolve_model
from sterna.model.chat import FALLBACK_TEMPLATE, render
from sterna.model.chat.text import typed_mask
from sterna.model.tokenizer import gguf
from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.special import SPECIAL_TYPES, SpecialSplitter, TokenType, ids_of
from sterna.model.tokenizer.stream import Pieces, StreamDecoder
from sterna.model.tokenizer.vocabulary import Prefix, Vocabulary

__all__ = ["StreamDecoder", "Tokenizer"]


class Tokenizer:
    """One model's vocabulary."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """`path` may also be a name that `resolve_model` knows; its model is downloaded if it is not in the cache.

        Raises FormatError or UnsupportedError for what is no tokenizer, or none that Sterna reads.
        """
        self._take(_open(resolve_model(path)))

    @classmethod
    def from_gguf_metadata(cls, metadata: Mapping[str, Any]) -> Tokenizer:
        """The tokenizer of a GGUF file's metadata: string arrays are sequences of `str`, numeric ones numpy arrays."""
        tokenizer = cls.__new__(cls)
        tokenizer._take(gguf.from_metadata(metadata))
        return tokenizer

    def _take(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        special_ids = ids_of(vocabulary.types, *SPECIAL_TYPES)
        self._special = {vocabulary.tokens[token]: token for token in special_ids}
        self._pieces = Pieces(vocabulary.tokens, vocabulary.types, frozenset(special_ids), vocabulary.byte_level)
        self._byte_ids = {vocabulary.tokens[token]: token for token in ids_of(vocabulary.types, TokenType.BYTE)}

    @property
    def vocab_size(self) -> int:
        """Number of token ids, unused ones included."""
        return len(self._vocabulary.tokens)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text, if the vocabulary has one."""
        return self._vocabulary.bos_id

    @property
    def add_bos(self) -> bool:
        """Whether the model wants `bos_id` before a text."""
        return self._vocabulary.add_bos

    @property
    def suffix_id(self) -> int | None:
        """The token that belongs after a text that is embedded; `encode` does not add it."""
        return self._vocabulary.suffix_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Every token after which generation stops: end of text, end of turn, and those of the generation config."""
        return self._vocabulary.eos_ids

    @property
    def chat_template(self) -> str | None:
        """The model's Jinja template, None where it has none."""
        return self._vocabulary.chat_template

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`, after BOS if `add_special` and the model wants one.

        `parse_special` recognises special tokens written in the text; leave it off for text that users typed.
        """
        ids = [self.bos_id] if add_special and self.add_bos and self.bos_id is not None else []
        return ids + self._encode_fragments(self._splitter.split(text) if parse_special else [text])

    def decode(self, ids: Iterable[int], skip_special: bool = True, continuation: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD.

        A SentencePiece vocabulary begins each text with a space of its own, which is taken away, unless the ids are
        the `continuation` of a text. Raises ArgumentError for an id outside the vocabulary.
        """
        data = b"".join(self._pieces(token, skip_special) for token in ids)
        if self._vocabulary.prefix is not Prefix.NONE and not continuation:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", "replace")

    def stream(self, skip_special: bool = True, continuation: bool = False) -> StreamDecoder:
        """A decoder of one id at a time; its pieces, joined, equal `decode` with the same arguments.

        An id outside the vocabulary has no text: models with a padded embedding can generate one.
        """

        def piece(token: int) -> bytes:
            return self._pieces(token, skip_special) if 0 <= token < self.vocab_size else b""

        return StreamDecoder(piece, self._vocabulary.prefix is not Prefix.NONE and not continuation)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> list[int]:
        """The ids of a conversation in the model's template, or in `FALLBACK_TEMPLATE`.

        `messages` are `{"role", "content"}` mappings. The template's special tokens become special tokens, those
        typed in messages stay text. Raises ArgumentError for malformed messages, FormatError for a broken template.
        """
        names = {"bos_token": self.bos_id, "eos_token": self._vocabulary.eos_id}
        prompt = render(
            self.chat_template or FALLBACK_TEMPLATE,
            messages,
            add_generation_prompt=add_generation_prompt,
            variables={name: "" if token is None else self._vocabulary.tokens[token] for name, token in names.items()},
        )
        ids = [self.bos_id] if self.chat_template is None and self.add_bos and self.bos_id is not None else []
        return ids + self._encode_fragments(self._splitter.split(str.__str__(prompt), typed_mask(prompt)))

    def gguf_metadata(self) -> dict[str, Any]:
        """The `tokenizer.*` keys from which `from_gguf_metadata` makes an equal tokenizer.

        Raises UnsupportedError for a tokenizer.json that GGUF cannot describe.
        """
        return self._vocabulary.gguf_metadata()

    def hf_files(self, context_length: int, tokenizer_json: bytes | None = None) -> dict[str, bytes]:
        """Names and contents of the files with which a Hugging Face folder holds an equal tokenizer.

        `tokenizer_json` is the content of the file that the tokenizer was read from, if that was a tokenizer.json.
        Raises UnsupportedError for a vocabulary that tokenizer.json cannot hold.
        """
        from sterna.model.tokenizer.hf_files import hf_files

        return hf_files(self._vocabulary, tokenizer_json, context_length)

    @cached_property
    def _splitter(self) -> SpecialSplitter:
        return SpecialSplitter(self._special, self._vocabulary.lstrip, self._vocabulary.rstrip)

    def _encode_fragments(self, fragments: Iterable[str | int]) -> list[int]:
        """Ids of ordinary text and special tokens in turn."""
        ids: list[int] = []
        for index, fragment in enumerate(fragments):
            if isinstance(fragment, int):
                ids.append(fragment)
            elif fragment:
                text = fragment.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
                ids += self._encode_run(text, first=index == 0)
        return ids

    def _encode_run(self, text: str, first: bool) -> list[int]:
        prefix = self._vocabulary.prefix
        if self._vocabulary.byte_level or prefix is Prefix.LIBRARY:
            return self._ids(text)
        if prefix is Prefix.EACH_RUN or (prefix is Prefix.FIRST_RUN and first and text[0] not in " ▁"):
            text = " " + text
        # A typed "▁" would decode to a space; as byte tokens it decodes to itself.
        typed = [self._byte_ids[name] for name in ("<0xE2>", "<0x96>", "<0x81>") if name in self._byte_ids]
        parts = text.split("▁") if len(typed) == 3 else [text]
        ids = self._ids(parts[0].replace(" ", "▁"))
        for part in parts[1:]:
            ids += typed + self._ids(part.replace(" ", "▁"))
        return ids

    def _ids(self, text: str) -> list[int]:
        with library_errors("The tokenizer of this model cannot encode the text"):
            return self._vocabulary.encoder.encode(text, add_special_tokens=False).ids


def _open(path: Path) -> Vocabulary:
    # Imported only here: most models are GGUF, and a program that reads no other format starts sooner.
    from sterna.model.tokenizer import hf

    try:
        if path.is_dir():
            return hf.from_folder(path)
        return _open_file(path)
    except OSError as error:
        raise NotFoundError(f"Cannot read {path}: {error.strerror}.") from error


def _open_file(path: Path) -> Vocabulary:
    from sterna.model.tokenizer import hf, tiktoken
    from sterna.model.tokenizer.hf_settings import Settings

    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF":
        from sterna.files.gguf.reader import read_gguf

        return gguf.from_metadata(read_gguf(path).metadata)
    if start.lstrip()[:1] == b"{":
        return hf.from_tokenizer_json(path, Settings())
    if tiktoken.is_tiktoken(path):
        return gguf.from_metadata(tiktoken.read_tiktoken(path))
    raise UnsupportedError(
        f"{path} is no tokenizer that Sterna reads: GGUF, tokenizer.json, or Llama-3's tiktoken file."
    )
