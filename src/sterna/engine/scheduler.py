"""Continuous batching: which sequences run, and which of their tokens enter the next forward pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sterna.engine.kv_cache import KvCache
from sterna.engine.options import TOKENS_PER_PASS
from sterna.engine.request import Request

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

    def __len__(self) -> int:
        return self.end - self.start + len(self.draft)

    @property
    def token_ids(self) -> list[int]:
        """The tokens that enter the pass."""
        return [*self.request.token_ids[self.start : self.end], *self.draft]


class _Pass:
    """The chunks of a pass while it is put together."""

    def __init__(self) -> None:
        self.chunks: dict[Request, Chunk] = {}
        self.tokens = 0

    def add(self, chunk: Chunk) -> None:
        """Adds the chunk of a request that has none yet."""
        self.chunks[chunk.request] = chunk
        self.tokens += len(chunk)

    def drop(self, request: Request) -> None:
        """Takes the chunk of a request out again, if there is one."""
        chunk = self.chunks.pop(request, None)
        if chunk is not None:
            self.tokens -= len(chunk)


class _Lane:
    """Requests that share the passes of the engine."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.running: dict[Request, None] = {}
        """In the order of admission."""


class Scheduler:
    """Admits a request when the pool has room for its prompt. When the pool is full, the request admitted last is
    preempted: it gives up its blocks, waits, and is computed again. Its text stays the same, because all numbers of a
    request depend on its own tokens alone.

    Requests of the background enter a pass only when no other request waits or runs, and are the first to be preempted.
    So nobody waits for them longer than for the pass that the engine is in.
    """

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self._foreground, self._background = _Lane(), _Lane()
        self._lanes = (self._foreground, self._background)
        self._turns = 0
        self.preemptions = 0
        """How often a request was preempted."""
        self.passes = self.tokens = 0
        """Forward passes, and the tokens that entered them."""
        self.prefix_queries = self.prefix_hits = 0
        """Tokens of prompts that could come from the prefix cache, and those that did."""

    @property
    def running(self) -> int:
        """How many requests have blocks."""
        return sum(len(lane.running) for lane in self._lanes)

    @property
    def waiting(self) -> int:
        """How many requests wait for admission."""
        return sum(len(lane.waiting) for lane in self._lanes)

    @property
    def requests(self) -> list[Request]:
        """All requests that wait or run."""
        return [request for lane in self._lanes for request in (*lane.running, *lane.waiting)]

    @property
    def has_requests(self) -> bool:
        """Whether any request waits or runs."""
        return any(lane.running or lane.waiting for lane in self._lanes)

    def add(self, requests: Sequence[Request]) -> None:
        """Queues requests for admission, but for those that were cancelled before."""
        for request in requests:
            if not request.cancelled:
                self._lane(request).waiting.append(request)

    def remove(self, request: Request) -> None:
        """Removes a finished or cancelled request and releases its blocks; an unknown one is ignored."""
        lane = self._lane(request)
        if request in lane.running:
            del lane.running[request]
            if request.is_copied:
                self._cache.share_parts(request.blocks, request.token_ids[: request.num_computed])
            self._cache.release(request.blocks)
        elif request in lane.waiting:
            lane.waiting.remove(request)

    def schedule(self) -> list[Chunk]:
        """Chunks of the next pass, all of the foreground if it has requests: one token of every decoding request and
        its draft; then what else is to be computed of the requests that run, beginning in both with the request that
        has waited longest; then prompts in the order of admission, as far as they fit."""
        scheduled = _Pass()
        lane = self._foreground if self._foreground.running or self._foreground.waiting else self._background
        longest_waiting = sorted(lane.running, key=lambda request: request.last_turn)
        decoding = [request for request in longest_waiting if request.is_decoding]
        has_prompts = bool(lane.waiting) or len(decoding) < len(lane.running)
        for_decoding = TOKENS_PER_PASS - (LEAST_FOR_PROMPTS if has_prompts else 0)
        for request in decoding:
            room = for_decoding - scheduled.tokens
            if room > 0 and request in lane.running:
                most = min(ROWS_WITH_DRAFTS // len(decoding), room) - 1
                draft = request.propose(min(most, self._cache.most_drafted(len(request.token_ids))))
                self._take(request, len(request.token_ids), draft, scheduled)
        # Prompts that have begun, and texts to which a constraint has added several tokens.
        prompts = [request for request in longest_waiting if not request.is_decoding]
        while (room := TOKENS_PER_PASS - scheduled.tokens) > 0:
            # Requests are admitted when their first tokens enter a pass, so that they find the blocks of those before.
            prompt = prompts.pop(0) if prompts else self._admit(lane)
            if prompt is None:
                break
            if prompt in lane.running:
                self._take(prompt, min(len(prompt.token_ids), prompt.num_computed + room), (), scheduled)
        for request in scheduled.chunks:
            self._turns += 1
            request.last_turn = self._turns
        self.passes += 1
        self.tokens += scheduled.tokens
        return list(scheduled.chunks.values())

    def copies(self) -> list[tuple[int, int, int]]:
        """What the backend must copy before the pass that `schedule` has put together (`KvCache.copies`)."""
        return self._cache.copies()

    def computed(self, chunk: Chunk, accepted: int) -> None:
        """Records that the pool holds the keys and values of the chunk and of the first `accepted` tokens of its draft,
        which the request has appended to its own. Those of the rest of the draft will be overwritten."""
        request = chunk.request
        request.num_computed = chunk.end + accepted
        self._cache.computed(request.blocks, request.token_ids, chunk.start, request.num_computed)

    def _lane(self, request: Request) -> _Lane:
        return self._background if request.background else self._foreground

    def _admit(self, lane: _Lane) -> Request | None:
        """The next request that waits, now running; None where the pool lacks room for its prompt."""
        if not lane.waiting:
            return None
        request = lane.waiting[0]
        reusable = request.token_ids[: request.reusable]
        # Every running request may soon need one more block.
        spare = len(lane.running)
        while spare and not self._cache.can_begin(request.blocks, reusable, len(request.token_ids), spare):
            if lane is self._background or not self._background.running:
                return None
            self._preempt(self._background)
        lane.waiting.popleft()
        request.num_computed = self._cache.match(request.blocks, reusable)
        request.began(request.num_computed)
        self.prefix_queries += len(reusable)
        self.prefix_hits += request.num_computed
        lane.running[request] = None
        return request

    def _take(self, request: Request, end: int, draft: Sequence[int], scheduled: _Pass) -> None:
        """Puts the request's tokens up to `end` into the pass. Where blocks are short, requests of the background and
        requests admitted later are preempted, and in the end the request itself."""
        while not self._cache.provide(request.blocks, end + len(draft)):
            youngest = self._preempt(self._background if self._background.running else self._foreground)
            scheduled.drop(youngest)
            if youngest is request:
                return
        outputs = request.outputs(request.num_computed, end, len(draft))
        scheduled.add(Chunk(request, request.num_computed, end, draft, outputs))

    def _preempt(self, lane: _Lane) -> Request:
        """Takes the blocks from the request of a lane that was admitted last; it is the first to be admitted again."""
        youngest, _ = lane.running.popitem()
        self._cache.release(youngest.blocks)
        youngest.num_computed = 0
        lane.waiting.appendleft(youngest)
        self.preemptions += 1
        return youngest
