"""Cuts a long text into pieces whose token ids, one after another, are those of the whole text.

What the `tokenizers` library encodes at once takes about 200 bytes of memory a character, and no signal is answered
meanwhile. So a text longer than a window is encoded piece by piece. In byte-level BPE words are encoded one by one, so
a place where the pre-tokenizer ends a word is a cut that changes nothing. SentencePiece's BPE knows no words: there two
neighbours can be parted that no token of the vocabulary has side by side.

Where a window has no such place, it is cut all the same: at the end of a word, or of a token where one word fills the
window. The ids are still those of the whole unless they depend on characters beyond the margin at the window's end.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sterna.model.tokenizer.bpe import library_errors

if TYPE_CHECKING:
    import tokenizers

WINDOW = 1 << 15
"""Characters in a piece, at most: encoded in 10 to 100 ms."""
CONTEXT = 256
"""Characters on each side that are encoded to check a cut; and the margin at a window's end within a word."""
TRIALS = 32
"""Places that are checked in a window: where so many fail, others would."""

# After a letter or digit, best before white space, else before punctuation. An apostrophe may belong to the letters.
_PLACES = (re.compile(r"[^\W_](?=\s)"), re.compile(r"[^\W_](?=[^\w\s'’])"))
# What other steps of a tokenizer.json than `Prepend` do where a text begins, and how it is turned off.
_AT_THE_BEGINNING: dict[str, dict[str, Any]] = {
    "Metaspace": {"prepend_scheme": "never"},
    "ByteLevel": {"add_prefix_space": False},
    "Strip": {"strip_left": False},
}


class LongText:
    """Cuts texts for one `tokenizers` encoder, which is `byte_level` or SentencePiece's."""

    def __init__(self, encoder: tokenizers.Tokenizer, byte_level: bool, window: int = WINDOW) -> None:
        self._encoder, self._byte_level = encoder, byte_level
        self._window, self._context = window, min(CONTEXT, window // 4)

    def pieces(self, parts: Iterable[str]) -> Iterator[str]:
        """The text that comes in `parts` (of any lengths), in pieces of at most a window, none of them empty.

        The first is to be encoded as it is, those after it with `later`.
        """
        text = ""
        for part in parts:
            for start in range(0, len(part), self._window):
                text += part[start : start + self._window]
                while len(text) > self._window:
                    at = self._cut(text)
                    yield text[:at]
                    text = text[at:]
        if text:
            yield text

    @cached_property
    def later(self) -> tokenizers.Tokenizer:
        """The encoder for pieces after the first: without what it does only where a text begins, such as a space that
        it puts there."""
        steps = [self._encoder.normalizer, self._encoder.pre_tokenizer]
        states = [json.loads(step.__getstate__()) for step in steps if step is not None]
        if all(_without_beginning(state) == state for state in states):
            return self._encoder
        from tokenizers import Tokenizer

        state = json.loads(self._encoder.to_str())
        for name in ("normalizer", "pre_tokenizer"):
            state[name] = _without_beginning(state[name])
        later: tokenizers.Tokenizer = Tokenizer.from_str(json.dumps(state))
        later.encode_special_tokens = self._encoder.encode_special_tokens
        return later

    def _cut(self, text: str) -> int:
        """Where to cut a text that is longer than a window: after 1 to `window` characters."""
        with library_errors("The tokenizer of this model cannot encode the text"):
            for place in _PLACES:
                for start in (self._window - self._context, 0):
                    found = [match.end() for match in place.finditer(text, start, self._window + 1)]
                    for at in reversed(found[-TRIALS:]):
                        left, right = text[max(0, at - self._context) : at], text[at : at + self._context]
                        if self._are_separate(left, right):
                            return at
            return self._cut_word(text[: self._window])

    def _are_separate(self, left: str, right: str) -> bool:
        """Whether two texts side by side have the ids that each has alone, whatever comes before and after them."""
        left, right = self._shown(left), self._shown(right)
        if self._ids(left + right) != self._ids(left) + self._ids(right):
            return False
        normalizer, pre_tokenizer = self.later.normalizer, self.later.pre_tokenizer
        if normalizer is not None:
            left, right = normalizer.normalize_str(left), normalizer.normalize_str(right)
        words = [] if pre_tokenizer is None else pre_tokenizer.pre_tokenize_str(left + right)
        if any(start == len(left) for _, (start, _) in words):
            return True
        if self._byte_level or left[-1:] + right[:1] in self._vocabulary:
            return False
        # A character without a token may be dropped, and then others are the neighbours.
        return bool(self._ids(left[-1:]) and self._ids(right[:1]))

    def _cut_word(self, text: str) -> int:
        """An end of a token, if possible of a word, in a text that has no other place for a cut."""
        encoding = self.later.encode(self._shown(text), add_special_tokens=False)
        offsets, words = encoding.offsets, encoding.word_ids
        last = bisect_right(offsets, (len(text) - self._context, 0))
        ends = [n for n in range(last - 1, 0, -1) if 0 < offsets[n - 1][1] == offsets[n][0]]
        token = next((n for n in ends if words[n - 1] != words[n]), next(iter(ends), None))
        return len(text) - self._context if token is None else offsets[token][0]

    def _ids(self, text: str) -> list[int]:
        return self.later.encode(text, add_special_tokens=False).ids

    def _shown(self, text: str) -> str:
        return text if self._byte_level else text.replace(" ", "▁")

    @cached_property
    def _vocabulary(self) -> str:
        """All tokens in one text, to look for neighbours in."""
        return "\0".join(self._encoder.get_vocab())


def _without_beginning(step: Any) -> Any:
    """A normalizer or pre-tokenizer of a tokenizer.json without what it does only where a text begins."""
    if step is None or step["type"] == "Prepend":
        return None
    changed = step | _AT_THE_BEGINNING.get(step["type"], {})
    for steps in ("normalizers", "pretokenizers"):
        if steps in step:
            changed[steps] = [kept for inner in step[steps] if (kept := _without_beginning(inner)) is not None]
    return changed
