"""Every token of a text is scored once, with enough of the text before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sterna.errors import ArgumentError
from sterna.evaluate.windows import bits_per_byte, windows


@given(n_tokens=st.integers(0, 300), context=st.integers(2, 64))
def test_every_token_but_the_first_is_scored_once(n_tokens: int, context: int) -> None:
    scored = []
    for start, end, first in windows(n_tokens, context):
        assert 0 <= start < first < end <= n_tokens
        assert end - start <= context
        assert first - start >= min(first, context // 2)
        scored += range(first, end)
    assert scored == list(range(1, n_tokens))


def test_a_context_of_one_is_refused() -> None:
    with pytest.raises(ArgumentError, match="at least 2"):
        windows(10, 1)


def test_bits_per_byte_of_a_uniform_guess_over_bytes() -> None:
    assert bits_per_byte(5.545177444479562, 1) == pytest.approx(8.0)
