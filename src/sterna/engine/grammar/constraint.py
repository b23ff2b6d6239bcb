"""A compiled grammar as the constraint of one generation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sterna.errors import GrammarError

if TYPE_CHECKING:
    from llguidance import LLMatcher


class GrammarConstraint:
    """Follows one text through a grammar. The end of text is allowed where the text is complete."""

    def __init__(self, matcher: LLMatcher, vocab_size: int, eos_id: int) -> None:
        self._matcher, self._eos_id = matcher, eos_id
        self._mask = np.zeros(-(-vocab_size // 32), np.uint32)

    def mask(self) -> np.ndarray:
        """Raises `GrammarError` where the grammar needs too much time or memory here."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        return self._mask

    def advance(self, token_id: int) -> None:
        """Raises `GrammarError` for a token that the grammar does not allow."""
        if not (self._matcher.is_stopped() and token_id == self._eos_id):
            self._matcher.consume_token(token_id)
        self._check()

    def forced(self) -> Sequence[int]:
        """The tokens that spell what must follow; the end of text where nothing can."""
        if self._matcher.is_stopped():
            return (self._eos_id,)
        tokens = self._matcher.compute_ff_tokens()
        self._check()
        return tokens

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarError(f"The grammar cannot be followed further: {reason(self._matcher.get_error())}.")


def reason(message: str) -> str:
    """What an error of llguidance says, as the end of a sentence."""
    words = " ".join(message.split("<state>")[0].split("<grammar>")[0].split()).rstrip(".;")
    return words if len(words) <= 300 else f"{words[:297]}..."
