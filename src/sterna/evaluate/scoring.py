"""Log-probabilities of many continuations, together in passes; those of one question share their prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from queue import SimpleQueue
from typing import Generic, TypeVar

from sterna._native import BLOCK_SIZE
from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.llm import LLM
from sterna.engine.request import Request, ScoreRequest

AHEAD = 32
"""Questions that are scored at the same time. Their prefixes stay in the prefix cache meanwhile."""

K = TypeVar("K")


@dataclass(frozen=True)
class Score:
    """`logprob`: the sum over the tokens of a continuation, in nats; `greedy`: whether each is the most likely one."""

    logprob: float
    greedy: bool


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

    The longest pair of a question goes first; when its blocks are known, the others take their common beginning from
    the prefix cache.
    """
    encoded = ((question.key, [encode_pair(llm, *pair) for pair in question.pairs]) for question in questions)
    return score_ids(llm, encoded, adapter)


def score_ids(
    llm: LLM, questions: Iterable[tuple[K, list[tuple[list[int], int]]]], adapter: AdapterChoice = None
) -> Iterator[tuple[K, list[Score]]]:
    """As `score_questions`, for token ids and the index of the first that is scored."""
    ended: SimpleQueue[_Running[K]] = SimpleQueue()
    waiting = iter(questions)
    running: list[_Running[K]] = []

    def begin(count: int) -> None:
        for key, pairs in islice(waiting, count):
            question = _Running(llm, key, pairs, ended, adapter)
            running.append(question)
            question.begin()

    try:
        begin(AHEAD)
        while running:
            question = ended.get()
            running.remove(question)
            begin(1)
            yield question.key, question.scores()
    finally:
        llm.cancel(list(chain.from_iterable(question.requests for question in running)))


class _Running(Generic[K]):
    """A question whose pairs are being scored."""

    def __init__(
        self,
        llm: LLM,
        key: K,
        pairs: list[tuple[list[int], int]],
        ended: SimpleQueue[_Running[K]],
        adapter: AdapterChoice,
    ) -> None:
        self.key, self._llm, self._ended = key, llm, ended
        self._left = len(pairs)
        self._rest: list[ScoreRequest] = []
        self.requests: list[ScoreRequest] = [llm.score_request(ids, first, self._done, adapter) for ids, first in pairs]

    def begin(self) -> None:
        """Submits one pair, and the others after it where there is a whole block to share."""
        if min(request.reusable for request in self.requests) < BLOCK_SIZE:
            self._llm.submit(self.requests)
            return
        leader = max(self.requests, key=lambda request: request.prompt_tokens)
        # Before the leader is submitted, for it may end on the engine's thread at once.
        self._rest = [request for request in self.requests if request is not leader]
        self._llm.submit([leader])

    def _done(self, request: Request) -> None:
        self._left -= 1
        rest, self._rest = self._rest, []
        if rest and request.error is None:
            self._llm.submit(rest)
        elif self._left == 0 or rest:
            self._ended.put(self)

    def scores(self) -> list[Score]:
        for request in self.requests:
            if request.error is not None:
                raise request.error
        return [Score(float(r.rows[:, 0].sum(dtype="float64")), bool(r.rows[:, 1].all())) for r in self.requests]
