"""Continuous batching: which sequences run, and which of their tokens enter the next forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sterna.engine.kv_cache import KvCache
from sterna.engine.request import Request

TOKENS_PER_PASS = 128
"""Most tokens of one forward pass. Longer prompts enter in chunks, so that other requests are not held up."""

LEAST_FOR_PROMPTS = 32
"""Tokens of a pass that are reserved for prompts, however many sequences are decoding."""

ROWS_WITH_DRAFTS = 8
"""Drafts fill a pass up to this many tokens of decoding sequences. Beyond that, its time is proportional to its tokens,
and drafting gains nothing (docs/engine.md)."""


@dataclass(eq=False)
class Chunk:
    """Tokens `start .. end - 1` of a request that enter a pass, and a draft of those that may follow its last one."""

    request: Request
    start: int
    end: int
    draft: Sequence[int]
    outputs: int
    """How many of the last tokens' hidden rows are wanted."""

    @property
    def token_ids(self) -> list[int]:
        """The tokens that enter the pass."""
        return [*self.request.token_ids[self.start : self.end], *self.draft]


class Scheduler:
    """Admits a request when the pool has room for its prompt. When the pool is full, the request admitted last is
    preempted: it gives up its blocks, waits, and is computed again. Its text stays the same, because all numbers of a
    request depend on its own tokens alone.
    """

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        """In the order of admission."""
        self._turns = 0
        self.preemptions = 0
        """How often a request was preempted."""

    @property
    def requests(self) -> list[Request]:
        """All requests that wait or run."""
        return [*self._running, *self._waiting]

    @property
    def has_requests(self) -> bool:
        """Whether any request waits or runs."""
        return bool(self._running or self._waiting)

    def add(self, requests: Sequence[Request]) -> None:
        """Queues requests for admission."""
        self._waiting.extend(requests)

    def remove(self, requests: Sequence[Request]) -> None:
        """Removes finished or cancelled requests and releases their blocks; unknown ones are ignored."""
        for request in requests:
            if request in self._running:
                self._running.remove(request)
                self._cache.release(request.blocks)
            elif request in self._waiting:
                self._waiting.remove(request)

    def schedule(self) -> list[Chunk]:
        """Chunks of the next pass: one token of every decoding sequence and its draft, beginning with the sequence that
        has waited longest; then prompts in the order of admission, as far as they fit."""
        chunks: dict[Request, Chunk] = {}
        self._admit()
        decoding = sorted((r for r in self._running if r.is_decoding), key=lambda request: request.last_turn)
        for_prompts = LEAST_FOR_PROMPTS if len(decoding) < len(self._running) else 0
        for request in decoding:
            left = TOKENS_PER_PASS - for_prompts - _tokens(chunks)
            if left > 0 and request in self._running:
                draft = request.propose(min(ROWS_WITH_DRAFTS // len(decoding), left) - 1)
                self._take(request, len(request.token_ids), draft, chunks)
        for request in list(self._running):
            left = TOKENS_PER_PASS - _tokens(chunks)
            if left > 0 and request in self._running and request not in chunks and not request.is_decoding:
                self._take(request, min(len(request.token_ids), request.num_computed + left), (), chunks)
        for request in chunks:
            self._turns += 1
            request.last_turn = self._turns
        return list(chunks.values())

    def computed(self, chunk: Chunk, accepted: int) -> None:
        """Records that the pool holds the keys and values of the chunk and of the first `accepted` tokens of its draft,
        which the request has appended to its own. Those of the rest of the draft will be overwritten."""
        request = chunk.request
        request.num_computed = chunk.end + accepted
        self._cache.computed(request.blocks, request.token_ids, chunk.start, request.num_computed)

    def _admit(self) -> None:
        while self._waiting:
            request = self._waiting[0]
            # Every running request may soon need one more block.
            if self._running and not self._cache.can_begin(request.blocks, request.token_ids, len(self._running)):
                return
            self._waiting.popleft()
            # The last token is always computed, because its hidden row is wanted.
            known = [] if request.needs_every_row else request.token_ids[:-1]
            request.num_computed = self._cache.match(request.blocks, known)
            request.began(request.num_computed)
            self._running.append(request)

    def _take(self, request: Request, end: int, draft: Sequence[int], chunks: dict[Request, Chunk]) -> None:
        """Puts the request's tokens up to `end` into the pass. Where blocks are short, requests admitted later are
        preempted, and in the end the request itself."""
        while not self._cache.provide(request.blocks, end + len(draft)):
            youngest = self._running.pop()
            self._cache.release(youngest.blocks)
            youngest.num_computed = 0
            chunks.pop(youngest, None)
            self._waiting.appendleft(youngest)
            self.preemptions += 1
            if youngest is request:
                return
        outputs = request.outputs(request.num_computed, end, len(draft))
        chunks[request] = Chunk(request, request.num_computed, end, draft, outputs)


def _tokens(chunks: dict[Request, Chunk]) -> int:
    return sum(chunk.end - chunk.start + len(chunk.draft) for chunk in chunks.values())
