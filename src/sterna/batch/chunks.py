"""Texts cut to a number of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sterna.model.tokenizer import Tokenizer

NEAR = 32
"""A cut goes back by at most so many tokens to the beginning of a word."""


def chunks(tokenizer: Tokenizer, text: str, size: int, overlap: int) -> Iterator[str]:
    """The parts of a text, each of about `size` tokens, of which the first `overlap` (less than `size`) are the last of
    the part before. They are cut before a word where one begins nearby, and never inside a character. Encoded alone, a
    part may have some tokens more."""
    ids = tokenizer.encode(text, add_special=False)
    start = end = 0
    while end < len(ids):
        cut = _cut(tokenizer, ids, end, start + size)
        if cut is None and start < end:
            start = end  # what the parts share leaves no room
            continue
        end = cut or start + size
        yield tokenizer.decode(ids[start:end]).strip()
        start = _cut(tokenizer, ids, start, end - overlap) or end


def _cut(tokenizer: Tokenizer, ids: Sequence[int], after: int, at: int) -> int | None:
    """The last place after `after`, and up to `at`, before which a text may be cut; None where there is none nearby."""
    if at >= len(ids):
        return len(ids)
    places = range(at, max(after, at - NEAR), -1)
    begins = {place: tokenizer.token_bytes(ids[place])[:1] for place in places}
    words = (place for place in places if begins[place].isspace())
    characters = (place for place in places if not b"\x80" <= begins[place] < b"\xc0")
    return next(words, None) or next(characters, None)
