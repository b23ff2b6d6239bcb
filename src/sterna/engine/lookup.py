"""Prompt-lookup drafting: guesses the next tokens from what followed the same last tokens earlier in the sequence.

The idea is that of Saxena, "Prompt Lookup Decoding" (2023), and LLMA (arXiv 2304.04487). A draft is only a guess: the
model runs over it in one pass, and what it would not have chosen itself is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

NGRAMS = (5, 3, 2)
"""How many of the last tokens must match at the earlier place; the longest n-gram is tried first."""

MEMORY = 1 / 4
"""Weight of the newest guess in the running share of right guesses."""

LEAST_CHANCE = 1 / 2
"""A token is drafted when it and all drafted before it are this likely to be right: one more row costs about a third of
a pass (docs/engine.md), and without that row the pass still gives a token or two."""


class PromptLookup:
    """Drafts for one sequence, from an index of its n-grams that grows with it.

    `token_ids` is the sequence's own list, to which others append. Every new token, drafted or not, is first
    compared with the index's guess: the recent share of right guesses, which is known without a forward pass, decides
    how long drafts are.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        self._ids = token_ids
        self._after: dict[tuple[int, ...], int] = {}
        """The position after the latest place of each n-gram; the n-gram at the very end is not in it yet."""
        self._indexed = 0
        self._right = 0.0

    def propose(self, most: int) -> list[int]:
        """The tokens that may come next, at most `most`; none where nothing is found or recent guesses were wrong."""
        self._update()
        found = self._find(len(self._ids))
        draft: list[int] = []
        chance = self._right
        while found is not None and len(draft) < most and chance >= LEAST_CHANCE:
            # Past the end of the sequence the draft copies itself, so that a cyclic text is drafted at any length.
            at = found + len(draft)
            draft.append(self._ids[at] if at < len(self._ids) else draft[at - len(self._ids)])
            chance *= self._right
        return draft

    def _update(self) -> None:
        for end in range(self._indexed, len(self._ids)):
            guess = self._find(end)
            if guess is not None:
                self._right += MEMORY * ((self._ids[guess] == self._ids[end]) - self._right)
            for ngram in self._ngrams(end):
                self._after[ngram] = end
        self._indexed = len(self._ids)

    def _find(self, end: int) -> int | None:
        """The position after the latest earlier occurrence of the longest n-gram before `end` that has one."""
        return next((at for ngram in self._ngrams(end) if (at := self._after.get(ngram)) is not None), None)

    def _ngrams(self, end: int) -> Iterator[tuple[int, ...]]:
        return (tuple(self._ids[end - n : end]) for n in NGRAMS if n <= end)
