"""Log-probabilities of many continuations, together in passes; those of one question share their prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

import numpy as np

from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.blocks import LEAST_COMMON
from sterna.engine.llm import LLM
from sterna.engine.options import TOKENS_PER_PASS
from sterna.engine.request import Request, ScoreRequest

AHEAD = 8 * TOKENS_PER_PASS
"""Tokens to be computed of the questions that are scored at the same time: of those whose longest pair is computed, and
of those whose other pairs are. The KV cache keeps their beginnings meanwhile."""

K = TypeVar("K")


@dataclass(frozen=True)
class Score:
    """`logprob`: the sum over the tokens of a continuation, in nats; `greedy_share`: how many of them are the most
    likely one after those before, as a share."""

    logprob: float
    greedy_share: float

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding gives the whole continuation."""
        return self.greedy_share == 1.0


@dataclass(frozen=True)
class Question(Generic[K]):
    """Pairs of context and continuation that belong together, under a key."""

    key: K
    pairs: Sequence[tuple[str, str]]


def encode_pair(llm: LLM, context: str, continuation: str) -> tuple[list[int], int]:
    """The token ids of both and where the continuation begins, as lm-eval's `TemplateLM` splits them: blanks at the end
    of the context belong to the continuation, and the ids of the context alone say where it ends.

    An empty context is the token that texts begin with (BOS, else one that ends them). What is longer than the model's
    context loses its beginning.
    """
    blanks = len(context) - len(context.rstrip())
    if blanks:
        context, continuation = context[:-blanks], context[-blanks:] + continuation
    if context:
        ids, first = llm.tokenizer.encode(context + continuation), len(llm.tokenizer.encode(context))
    else:
        ids = llm.tokenizer.encode(continuation)
        if ids[:1] != [prefix_id(llm)]:
            ids = [prefix_id(llm), *ids]
        first = 1
    return cut(llm, ids, min(first, len(ids) - 1))


def cut(llm: LLM, ids: list[int], first: int) -> tuple[list[int], int]:
    """The last `context_length + 1` of the token ids, and where the first scored one is among them (`first` is where it
    is in `ids`). The last token is only predicted, so it takes no position of the context."""
    over = max(0, len(ids) - llm.context_length - 1)
    return ids[over:], max(1, first - over)


def prefix_id(llm: LLM) -> int:
    """The token before a text that begins with nothing."""
    bos = llm.tokenizer.bos_id
    return bos if bos is not None else min(llm.tokenizer.eos_ids, default=0)


def score_questions(
    llm: LLM, questions: Iterable[Question[K]], adapter: AdapterChoice = None
) -> Iterator[tuple[K, list[Score]]]:
    """The scores of each question's pairs, in the order in which questions end. A score depends on its own pair alone.

    The longest pair of a question goes first. When it has ended, the others take what they have in common with it: the
    blocks of their beginning, a copy of a part of the next block, and the scores of a continuation's first tokens.
    """
    encoded = ((question.key, [encode_pair(llm, *pair) for pair in question.pairs]) for question in questions)
    return score_ids(llm, encoded, adapter)


def score_ids(
    llm: LLM, questions: Iterable[tuple[K, list[tuple[list[int], int]]]], adapter: AdapterChoice = None
) -> Iterator[tuple[K, list[Score]]]:
    """As `score_questions`, for token ids and the index of the first that is scored."""
    ended: SimpleQueue[_Running[K]] = SimpleQueue()
    waiting = iter(questions)
    running: dict[_Running[K], None] = {}
    # What a question shares with the one that ended last, as examples before each of them, is in the cache.
    cached: list[int] = []

    def fill() -> None:
        """Submits many questions at once, for the engine would begin a pass with the first of them alone."""
        ahead = sum(question.tokens for question in running)
        if ahead > AHEAD // 2:
            return
        first: list[ScoreRequest] = []
        while ahead < AHEAD and (found := next(waiting, None)) is not None:
            question = _Running(llm, *found, cached, ended, adapter)
            running[question] = None
            ahead += question.tokens
            first += question.begin()
        llm.submit(first)

    try:
        fill()
        while running:
            question = ended.get()
            del running[question]
            cached = question.ids
            fill()
            yield question.key, question.scores()
    finally:
        llm.cancel([request for question in running for request in question.requests])


class _Running(Generic[K]):
    """A question whose pairs are being scored: first the longest, then what the others have of their own.

    `cached`: token ids of a text whose keys and values the cache has. `ids`: those of the longest pair. `tokens`: how
    many tokens of all pairs are to be computed.
    """

    def __init__(
        self,
        llm: LLM,
        key: K,
        pairs: list[tuple[list[int], int]],
        cached: list[int],
        ended: SimpleQueue[_Running[K]],
        adapter: AdapterChoice,
    ) -> None:
        self.key, self._llm, self._ended = key, llm, ended
        self._pairs = pairs
        longest = max(range(len(pairs)), key=lambda index: len(pairs[index][0]))
        ids, self._first = pairs[longest]
        self.ids = ids
        self._leader = llm.score_request(ids, self._first, self._done, adapter)
        common = [_common(ids, others) for others, _ in pairs]
        # The tokens up to which the leader's scores are those of a pair too.
        self._known = [
            max(first, same) if self._first <= first else first for (_, first), same in zip(pairs, common, strict=True)
        ]
        own = [
            None if index == longest or known == len(others) else llm.score_request(others, known, self._done, adapter)
            for index, ((others, _), known) in enumerate(zip(pairs, self._known, strict=True))
        ]
        self._own: list[ScoreRequest | None] = own
        self._rest = [request for request in own if request is not None]
        self.requests = [self._leader, *self._rest]
        of_others = sum(len(others) - same for (others, _), same in zip(pairs, common, strict=True))
        self.tokens = max(1, len(ids) - _common(cached, ids) + of_others)
        self._left = len(self.requests)
        self._shares = any(same >= LEAST_COMMON for index, same in enumerate(common) if index != longest)

    def begin(self) -> list[ScoreRequest]:
        """What is to be submitted: one pair, which the others follow where they share a beginning worth sharing."""
        if not self._shares:
            self._rest = []
            return self.requests
        self._leader.is_copied = True
        return [self._leader]

    def _done(self, request: Request) -> None:
        self._left -= 1
        rest, self._rest = self._rest, []
        if rest and request.error is None:
            self._llm.submit(rest)
        elif self._left == 0 or rest:
            self._ended.put(self)

    def scores(self) -> list[Score]:
        """Of the pairs, in their order. Raises the error of a request that has one."""
        for request in self.requests:
            if request.error is not None:
                raise request.error
        parts = zip(self._pairs, self._known, self._own, strict=True)
        return [self._score(first, known, own) for (_, first), known, own in parts]

    def _score(self, first: int, known: int, own: ScoreRequest | None) -> Score:
        rows = self._leader.rows[first - self._first : known - self._first]
        if own is not None:
            rows = np.concatenate([rows, own.rows])
        return Score(float(rows[:, 0].sum(dtype=np.float64)), float(np.mean(rows[:, 1] != 0)))


def _common(a: list[int], b: list[int]) -> int:
    """How many first tokens two lists share."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
