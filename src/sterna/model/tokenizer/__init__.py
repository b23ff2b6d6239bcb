"""Text to token ids and back, from whatever file a vocabulary comes in.

`Tokenizer(path)` reads a GGUF file, a tokenizer.json, Llama-3's tiktoken file or a Hugging Face folder. Special tokens
are never recognised in text that somebody typed; they enter through `encode_chat` and the model's own template.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sterna.errors import NotFoundError, UnsupportedError
from sterna.files.hub.cache import resolve_model
from sterna.model.chat import FALLBACK_TEMPLATE, render
from sterna.model.chat.text import Text, typed_mask
from sterna.model.tokenizer import gguf
from sterna.model.tokenizer.bpe import library_errors
from sterna.model.tokenizer.infill import infill_marks
from sterna.model.tokenizer.long_text import WINDOW, LongText
from sterna.model.tokenizer.marked import Spans, inside, marked_tokens
from sterna.model.tokenizer.special import SPECIAL_TYPES, SpecialSplitter, TokenType, ids_of
from sterna.model.tokenizer.stream import Pieces, StreamDecoder
from sterna.model.tokenizer.vocabulary import Prefix, Vocabulary

if TYPE_CHECKING:
    import tokenizers

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
    def special_ids(self) -> frozenset[int]:
        """The tokens that enter through templates only, and those that the model does not use."""
        return frozenset(ids_of(self._vocabulary.types, *SPECIAL_TYPES, TokenType.UNUSED))

    def special_id(self, text: str) -> int | None:
        """The special token that templates write as `text`, if the vocabulary has one."""
        return self._special.get(text)

    @property
    def chat_template(self) -> str | None:
        """The model's Jinja template, None where it has none."""
        return self._vocabulary.chat_template

    def encode(
        self, text: str, add_special: bool = True, parse_special: bool = False, limit: int | None = None
    ) -> list[int]:
        """The ids of `text`, after BOS if `add_special` and the model wants one.

        `parse_special` recognises special tokens written in the text; leave it off for text that users typed. Encoding
        ends early where there are more than `limit` ids.
        """
        ids = [self.bos_id] if add_special and self.add_bos and self.bos_id is not None else []
        return ids + self._encode_fragments(self._splitter.split(text) if parse_special else [text], limit)

    def encode_continuation(self, text: str) -> list[int]:
        """The ids of a text that continues another: without BOS, and without the space that a SentencePiece vocabulary
        puts before a text of its own. Special tokens written in it are text."""
        pieces = self._long_text.pieces(_without_surrogates([text]))
        return [token for piece in pieces for token in self._encode_piece(self._long_text.later, piece)]

    def encode_parts(self, parts: Iterable[str], add_special: bool = True) -> Iterator[list[int]]:
        """The ids that `encode` gives for a text that comes in parts, piece by piece. Neither the text nor its ids are
        ever in memory as a whole."""
        if add_special and self.add_bos and self.bos_id is not None:
            yield [self.bos_id]
        yield from self._encode_run(parts, first=True)

    def decode(self, ids: Iterable[int], skip_special: bool = True, continuation: bool = False) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD.

        A SentencePiece vocabulary begins each text with a space of its own, which is taken away, unless the ids are
        the `continuation` of a text. Raises ArgumentError for an id outside the vocabulary.
        """
        data = b"".join(self._pieces(token, skip_special) for token in ids)
        if self._vocabulary.prefix is not Prefix.NONE and not continuation:
            data = data.removeprefix(b" ")
        return data.decode("utf-8", "replace")

    def stream(
        self, skip_special: bool = True, continuation: bool = False, shown: Collection[str] = ()
    ) -> StreamDecoder:
        """A decoder of one id at a time; its pieces, joined, equal `decode` with the same arguments.

        `shown`: special tokens, by their names, that are text nevertheless. An id outside the vocabulary has no text:
        models with a padded embedding can generate one.
        """
        ids_shown = {self._special.get(name) for name in shown}

        def piece(token: int) -> bytes:
            if not 0 <= token < self.vocab_size:
                return b""
            return self._pieces(token, skip_special and token not in ids_shown)

        return StreamDecoder(piece, self._vocabulary.prefix is not Prefix.NONE and not continuation)

    @property
    def can_infill(self) -> bool:
        """Whether the vocabulary has the tokens for `encode_infill`."""
        return infill_marks(self._special) is not None

    def encode_infill(self, before: str, after: str) -> list[int]:
        """The ids with which a model writes what stands between two texts. Raises UnsupportedError for a vocabulary
        without the tokens for it."""
        marks = infill_marks(self._special)
        if marks is None:
            raise UnsupportedError(
                "This model cannot fill in the middle of a text: its vocabulary has no tokens for it."
            )
        bos = [self.bos_id] if self.add_bos and self.bos_id is not None else []
        prefix, suffix, middle = marks
        return [
            *bos,
            prefix,
            *self.encode(before, add_special=False),
            suffix,
            *self.encode_continuation(after),
            middle,
        ]

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token; for a special one its name. An id outside the vocabulary, which a model with a padded
        embedding may generate, has none."""
        return self._pieces(token, skip_special=False) if 0 <= token < self.vocab_size else b""

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> list[int]:
        """The ids of a conversation in the model's template, or in `FALLBACK_TEMPLATE`.

        `messages` are `{"role", "content"}` mappings. Templates may read `tools`, functions in the form of OpenAI's
        API, `documents`, and `options` such as `enable_thinking=False`. The template's special tokens become special
        tokens, those typed in messages, tools, documents and options stay text. Raises ArgumentError for malformed
        messages, FormatError for a broken template.
        """
        prompt = self._render(
            messages, add_generation_prompt=add_generation_prompt, tools=tools, documents=documents, options=options
        )
        fragments = self._splitter.split(str.__str__(prompt), typed_mask(prompt))
        return self._before_chat() + self._encode_fragments(fragments)

    def encode_answers(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[tuple[list[int], list[bool]]]:
        """The ids of a conversation as `encode_chat` gives them, and which of them hold what the assistant wrote, its
        ends of turns included: what a model is fine-tuned on. Several conversations where answers look otherwise once
        more messages follow (`marked_answers`); empty without an answer. Raises as `encode_chat` does."""

        def rendered(messages: Sequence[Mapping[str, Any]], **how: bool) -> Text:
            return self._render(messages, tools=tools, **how)

        from sterna.model.chat.answers import marked_answers  # needs jinja2

        found = marked_answers(self.chat_template or FALLBACK_TEMPLATE, rendered, messages)
        before = self._before_chat()
        encoded = [self._encode_marked(text, spans) for text, spans in found]
        return [(before + ids, [False] * len(before) + marks) for ids, marks in encoded]

    def _render(self, messages: Sequence[Mapping[str, Any]], **how: Any) -> Text:
        names = {"bos_token": self.bos_id, "eos_token": self._vocabulary.eos_id}
        own = {name: "" if token is None else self._vocabulary.tokens[token] for name, token in names.items()}
        return render(self.chat_template or FALLBACK_TEMPLATE, messages, variables=own, **how)

    def _before_chat(self) -> list[int]:
        return [self.bos_id] if self.chat_template is None and self.add_bos and self.bos_id is not None else []

    def _encode_marked(self, prompt: Text, spans: Spans) -> tuple[list[int], list[bool]]:
        """The ids of a rendered conversation, and which of them hold characters of `spans`."""
        ids: list[int] = []
        marks: list[bool] = []
        text, at = str.__str__(prompt), 0
        for index, fragment in enumerate(self._splitter.split(text, typed_mask(prompt))):
            written = self._vocabulary.tokens[fragment] if isinstance(fragment, int) else fragment
            at = text.index(written, at)  # white space beside a special token may be a part of it
            own = inside(spans, at, at + len(written))
            at += len(written)
            new = [fragment] if isinstance(fragment, int) else self._ids_of_run(written, index == 0)
            found = marked_tokens(written, own, [len(self.token_bytes(token)) for token in new])
            if isinstance(fragment, int):
                found = [bool(own)]
            elif found is None:
                new, found = self._encode_apart(written, own, index == 0)
            ids += new
            marks += found
        return ids, marks

    def _encode_apart(self, text: str, spans: Spans, first: bool) -> tuple[list[int], list[bool]]:
        """`text` in pieces that lie inside of `spans` or between them, each encoded by itself."""
        ids: list[int] = []
        marks: list[bool] = []
        at = 0
        for start, end in (*spans, (len(text), len(text))):
            for piece, mark in ((text[at:start], False), (text[start:end], True)):
                new = self._ids_of_run(piece, first and not ids) if piece else []
                ids += new
                marks += [mark] * len(new)
            at = end
        return ids, marks

    def _ids_of_run(self, text: str, first: bool) -> list[int]:
        return [token for piece in self._encode_run([text], first) for token in piece]

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

    @cached_property
    def _long_text(self) -> LongText:
        return LongText(self._vocabulary.encoder, self._vocabulary.byte_level)

    def _encode_fragments(self, fragments: Iterable[str | int], limit: int | None = None) -> list[int]:
        """Ids of ordinary text and special tokens in turn."""
        ids: list[int] = []
        for index, fragment in enumerate(fragments):
            for more in [[fragment]] if isinstance(fragment, int) else self._encode_run([fragment], first=index == 0):
                ids += more
                if limit is not None and len(ids) > limit:
                    return ids
        return ids

    def _encode_run(self, parts: Iterable[str], first: bool) -> Iterator[list[int]]:
        """Ids of ordinary text between special tokens, piece by piece; `first`: nothing is before it."""
        encoder, prefix = self._vocabulary.encoder, self._vocabulary.prefix
        for piece in self._long_text.pieces(_without_surrogates(parts)):
            if prefix is Prefix.EACH_RUN or (prefix is Prefix.FIRST_RUN and first and piece[0] not in " ▁"):
                piece = " " + piece
            yield self._encode_piece(encoder, piece)
            encoder, prefix = self._long_text.later, Prefix.NONE

    def _encode_piece(self, encoder: tokenizers.Tokenizer, text: str) -> list[int]:
        def ids_of_text(text: str) -> list[int]:
            with library_errors("The tokenizer of this model cannot encode the text"):
                return encoder.encode(text, add_special_tokens=False).ids

        if self._vocabulary.byte_level or self._vocabulary.prefix is Prefix.LIBRARY:
            return ids_of_text(text)
        # A typed "▁" would decode to a space; as byte tokens it decodes to itself.
        typed = [self._byte_ids[name] for name in ("<0xE2>", "<0x96>", "<0x81>") if name in self._byte_ids]
        parts = text.split("▁") if len(typed) == 3 else [text]
        ids = ids_of_text(parts[0].replace(" ", "▁"))
        for part in parts[1:]:
            ids += typed + ids_of_text(part.replace(" ", "▁"))
        return ids


def _without_surrogates(parts: Iterable[str]) -> Iterator[str]:
    """The same text with surrogate pairs joined, and U+FFFD for each half that stands alone."""
    decoder = codecs.getincrementaldecoder("utf-16-le")("replace")
    for part in parts:
        for start in range(0, len(part), WINDOW):
            yield decoder.decode(part[start : start + WINDOW].encode("utf-16-le", "surrogatepass"))
    yield decoder.decode(b"", final=True)


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
