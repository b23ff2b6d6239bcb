"""Examples as tokens, with what is learned of each, from the sources of a config."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sterna.errors import ArgumentError, SternaError
from sterna.finetune.config import SourceSection
from sterna.finetune.data.formats import FORMATS, Completion, Conversation, Example, Pair, Tokens
from sterna.model.tokenizer import Tokenizer
from sterna.train.sources import HUB, Rows

Encoded = tuple[list[int], list[bool]]
"""Token ids, and which of them are learned."""


@dataclass(frozen=True)
class Sequence:
    """One example: `ids` int32 [n] and `learned` bool [n], whose first entry is never True, because nothing comes
    before it."""

    ids: np.ndarray
    learned: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


@dataclass
class Source:
    """The examples of one source, and what became of its rows."""

    section: SourceSection
    sequences: list[Sequence] = field(default_factory=list)
    cut: int = 0
    """Examples that are longer than a row, and lost their end."""
    without_answer: int = 0
    """Examples of which nothing would be learned."""


def read_source(
    base: Path, section: SourceSection, tokenizer: Tokenizer, context: int, vocab_size: int, limit: int | None = None
) -> Source:
    """The examples of a source, at most `limit` of them, each of at most `context` tokens; a longer text of the format
    `completion` becomes several.

    Raises ArgumentError for what cannot be read, and for a row of another format.
    """
    name = section.path
    path = Path(name.removeprefix(HUB)) if name.startswith(HUB) else base / name
    source = Source(section)
    encode = encoder(tokenizer)
    for number, row in enumerate(Rows(name, path).rows(), 1):
        try:
            example = FORMATS[section.format](row)
            encoded = list(encode(example))
        except (ValueError, TypeError, KeyError, RecursionError, SternaError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            raise ArgumentError(
                f"Row {number} of {name} is no example of the format {section.format}: {reason}."
            ) from error
        for ids, learned in encoded:
            if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
                raise ArgumentError(f"Row {number} of {name} has a token outside of the vocabulary of {vocab_size}.")
            _add(source, np.array(ids, np.int32), np.array(learned, bool), context, isinstance(example, Completion))
        if limit is not None and len(source.sequences) >= limit:
            break
    return source


def _add(source: Source, ids: np.ndarray, learned: np.ndarray, context: int, in_pieces: bool) -> None:
    if len(ids) > context and not in_pieces:
        source.cut += 1
        ids, learned = ids[:context], learned[:context]
    for first in range(0, len(ids), context):
        piece, own = ids[first : first + context], learned[first : first + context].copy()
        own[:1] = False
        if own.any():
            source.sequences.append(Sequence(piece, own))
        elif not first:
            source.without_answer += 1


def encoder(tokenizer: Tokenizer) -> Callable[[Example], Iterator[Encoded]]:
    """The function that encodes examples: conversations and pairs by the model's own chat template. Without a template
    a pair is its plain prompt, the answer and the end of text."""
    end = [min(tokenizer.eos_ids)] if tokenizer.eos_ids else []
    has_template = tokenizer.chat_template is not None

    def text(prompt: str, answer: str) -> Encoded:
        before = tokenizer.encode(prompt)
        ids = [*(tokenizer.encode_continuation(answer) if prompt else tokenizer.encode(answer)), *end]
        return before + ids if prompt else ids, [False] * (len(before) if prompt else 0) + [True] * len(ids)

    def encode(example: Example) -> Iterator[Encoded]:
        match example:
            case Tokens(ids, learned):
                yield ids, learned
            case Completion(written):
                yield text("", written)
            case Pair(request, answer, _) if has_template:
                turns = [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
                yield from tokenizer.encode_answers(turns)
            case Pair(_, answer, plain):
                yield text(plain, answer)
            case Conversation(messages, tools):
                for ids, learned in tokenizer.encode_answers(messages, tools=tools):
                    # The fallback's turns end with a line, and nothing else would end the last one.
                    yield (ids, learned) if has_template else (ids + end, learned + [True] * len(end))

    return encode


def digest(sources: list[Source]) -> str:
    """The SHA-256 of all examples and weights, in hexadecimal digits: what identifies the data of a run."""
    state = hashlib.sha256()
    for source in sources:
        state.update(f"{source.section.weight} {source.section.split} {len(source.sequences)}".encode())
        for sequence in source.sequences:
            state.update(sequence.ids.tobytes() + sequence.learned.tobytes())
    return state.hexdigest()
