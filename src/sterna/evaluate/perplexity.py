"""How well a model predicts a text: bits per byte and perplexity."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.llm import LLM
from sterna.errors import FormatError
from sterna.evaluate.windows import bits_per_byte, windows


@dataclass(frozen=True)
class TextScore:
    """Scores of one text; `tokens` are the scored ones, `bytes` the UTF-8 length of the text."""

    bits_per_byte: float
    perplexity: float
    nll_per_token: float
    """Mean negative log-likelihood in nats."""
    tokens: int
    bytes: int
    seconds: float


def evaluate_text(
    llm: LLM, text: str, progress: Callable[[float], None] = lambda share: None, window: int | None = None
) -> TextScore:
    """Scores every token of `text` once, with at least half a window before it where the text has that much.

    The text begins with the tokenizer's BOS if it adds one; otherwise the first token is not scored. `progress` is
    called with the share done, 0 to 1. `window`: how many tokens are computed together, at most the model's context;
    None: as many as that. Raises `FormatError` for a text without a token to score, ArgumentError for a window under 2.
    """
    return evaluate_tokens(llm, *read_tokens(llm, [text]), progress, window=window)


def read_tokens(llm: LLM, parts: Iterable[str]) -> tuple[np.ndarray, int]:
    """The token ids of a text that comes in parts, int32 [n], and the text's size in bytes of UTF-8."""
    tokens, text_bytes = array("i"), 0

    def counted() -> Iterator[str]:
        nonlocal text_bytes
        for part in parts:
            text_bytes += len(part.encode())
            yield part

    for ids in llm.tokenizer.encode_parts(counted()):
        tokens.extend(ids)
    return np.frombuffer(tokens, np.int32), text_bytes


def evaluate_tokens(
    llm: LLM,
    tokens: np.ndarray,
    text_bytes: int,
    progress: Callable[[float], None] = lambda share: None,
    adapter: AdapterChoice = None,
    window: int | None = None,
) -> TextScore:
    """As `evaluate_text`, for the token ids (int32 [n]) and the bytes of UTF-8 that `read_tokens` returns. `adapter`:
    as the methods of `LLM` take it."""
    started = time.perf_counter()
    spans = windows(len(tokens), llm.context_length if window is None else min(window, llm.context_length))
    if not spans:
        raise FormatError("The text is too short: it has no token to score.")
    nats = 0.0
    for done, (start, end, first) in enumerate(spans, 1):
        nats -= float(llm.scores(tokens[start:end], first - start, adapter=adapter)[:, 0].sum(dtype=np.float64))
        progress(done / len(spans))
    count = len(tokens) - 1
    return TextScore(
        bits_per_byte=bits_per_byte(nats, text_bytes),
        perplexity=math.exp(min(nats / count, 700.0)),
        nll_per_token=nats / count,
        tokens=count,
        bytes=text_bytes,
        seconds=time.perf_counter() - started,
    )
