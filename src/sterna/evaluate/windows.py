"""Sliding windows over a long text: which tokens each pass reads, and which of its predictions count."""

from __future__ import annotations

from math import log

from sterna.errors import ArgumentError


def windows(n_tokens: int, context: int) -> list[tuple[int, int, int]]:
    """Windows `(start, end, first_scored)` that score every token but the first of a text exactly once.

    Feed `tokens[start:end]` (at most `context` of them) and score `tokens[first_scored:end]`: the logits at position
    `i - 1` of the text predict token `i`. Windows advance by `context // 2`, so every scored token sees at least that
    many tokens before it once the text is that long. Raises ArgumentError for a context under 2.
    """
    if context < 2:
        raise ArgumentError(f"A context of {context} tokens predicts nothing; it must be at least 2.")
    result = []
    start, scored = 0, 1
    while scored < n_tokens:
        end = min(start + context, n_tokens)
        result.append((start, end, scored))
        scored = end
        start += context // 2
    return result


def bits_per_byte(total_nats: float, text_bytes: int) -> float:
    """Total negative log-likelihood of a text in nats, as bits for each byte of its UTF-8 form."""
    return total_nats / log(2) / text_bytes
