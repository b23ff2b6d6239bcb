"""Generation, the request that continues a prompt, and its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sterna.engine.backend import NO_ADAPTER, Choice, Mix, RowSampling
from sterna.engine.lookup import PromptLookup
from sterna.engine.request import Done, Request
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError
from sterna.model.tokenizer import StreamDecoder


@dataclass(frozen=True)
class TokenLogprob:
    """A token's log-probability: log-softmax of the raw logits, before temperature, penalties, bias and masks."""

    token_id: int
    logprob: float | None
    """None for the first token of an echoed prompt, which has no token before it."""
    top: list[tuple[int, float]]
    """The most likely ids at this position and their log-probabilities, best first."""


@dataclass(frozen=True)
class Completion:
    """The result of one prompt. Speeds are tokens a second; a speed that cannot be measured (no second token) is 0.

    `text`, `token_ids` and `logprobs` begin with the prompt's if that is echoed.
    """

    text: str
    token_ids: list[int]
    prompt_tokens: int
    completion_tokens: int
    """How many tokens were generated."""
    stop_reason: str
    """`eos`, `stop` (a stop string) or `length` (max_tokens or the context is full)."""
    prefill_tps: float
    """Speed of the prompt tokens that did not come from the prefix cache."""
    decode_tps: float
    cached_tokens: int = 0
    """Prompt tokens that came from the prefix cache."""
    draft_tokens: int = 0
    """Tokens that prompt lookup drafted."""
    accepted_tokens: int = 0
    """Drafted tokens that were right, and so needed no pass of their own."""
    forced_tokens: int = 0
    """Tokens that a constraint forced, and that were not chosen."""
    logprobs: list[TokenLogprob] | None = None
    """One entry for each of `token_ids`; None unless they were asked for."""
    seed: int = 0
    """The seed of the text, given or drawn."""
    stop_string: str | None = None
    """The stop string that ended the text."""


class Constraint(Protocol):
    """Decides which tokens may come next, as a grammar does. An exception fails its own request alone."""

    def mask(self) -> np.ndarray | None:
        """Bit i % 32 of word i / 32 (uint32) says whether id i is allowed; None allows all."""

    def advance(self, token_id: int) -> None:
        """Takes a chosen or forced token into account."""

    def forced(self) -> Sequence[int]:
        """Tokens that must follow, as far as they are known; often none. They are appended without being chosen, and
        given to `advance`."""


Deliver = Callable[[str], None]
"""Takes a piece of text; called on the engine's thread."""


class Generation(Request):
    """A prompt and what has been generated for it so far: its text, and why it stopped."""

    def __init__(
        self,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        *,
        context_length: int,
        eos_ids: frozenset[int],
        decoder: StreamDecoder,
        done: Done = lambda request: None,
        deliver: Deliver | None = None,
        constraint: Constraint | None = None,
        mix: Mix = NO_ADAPTER,
        prompt_text: str = "",
    ) -> None:
        """`deliver` receives the text piece by piece; the first piece comes with the first token, and may be empty.
        Without it, only `completion()` has the text. `prompt_text`: the prompt's text, with which an echo begins."""
        super().__init__(list(prompt_ids), done, mix)
        self.params = params
        self.draft_tokens = self.accepted_tokens = self.forced_tokens = 0
        # Six bytes: every JSON parser reads such a number exactly.
        self.seed = int.from_bytes(os.urandom(6), "little") if params.seed is None else params.seed
        self.stop_reason: str | None = None
        self.stop_string: str | None = None
        self.text = ""
        self._limit = context_length
        if params.max_tokens is not None:
            self._limit = min(context_length, self.prompt_tokens + params.max_tokens)
        # A constraint knows the chosen tokens only, so it has no mask for what follows a drafted token.
        self._lookup = PromptLookup(self.token_ids) if params.lookup and constraint is None else None
        self._constraint = constraint
        self._stops_at = frozenset() if params.ignore_eos else eos_ids
        self._searched = 0
        """Characters of the text in which no stop string ends, or counts."""
        self._decoder = decoder
        self._deliver, self._delivered, self._began = deliver, 0, False
        self._echo = self._echo_due = prompt_text if params.echo else ""
        self.logprobs: list[TokenLogprob] | None = None if params.logprobs is None else []
        """One entry for each token so far, if they were asked for; begins with the prompt's if that is echoed."""
        self._scoring: SamplingParams | None = None
        """How the tokens of an echoed prompt are scored; None where they are not."""
        if params.echo and params.logprobs is not None:
            self.logprobs = [TokenLogprob(self.token_ids[0], None, [])]
            self._scoring = SamplingParams(logprobs=params.logprobs)
        self._scored = range(0)
        """Positions of the prompt whose hidden rows the next pass gives, to score the tokens after them."""
        self._chooses = True
        """Whether the next pass gives rows after which a token is chosen."""
        self._first_token = self._ended = 0.0

    @property
    def completion_ids(self) -> list[int]:
        """The generated tokens."""
        return self.token_ids[self.prompt_tokens :]

    @property
    def is_decoding(self) -> bool:
        return len(self.token_ids) > self.prompt_tokens and self.num_computed == len(self.token_ids) - 1

    @property
    def finished(self) -> bool:
        return self.stop_reason is not None or self.error is not None

    def propose(self, most: int) -> Sequence[int]:
        # A pass gives one token more than it drafts.
        room = self._limit - len(self.token_ids) - 1
        return self._lookup.propose(min(most, self.params.lookup, room)) if self._lookup else ()

    @property
    def reusable(self) -> int:
        return 0 if self._scoring is not None else len(self.token_ids) - 1

    def outputs(self, start: int, end: int, drafted: int) -> int:
        self._chooses = end == len(self.token_ids)
        if self._scoring is not None and self.logprobs is not None:
            # Rows that are computed again after a preemption were scored the first time.
            first = max(start, len(self.logprobs) - 1)
            self._scored = range(first, max(first, min(end, self.prompt_tokens - 1)))
        return len(self._scored) + (1 + drafted if self._chooses else 0)

    def samplings(self, draft: Sequence[int]) -> list[RowSampling]:
        scoring = self._scoring
        scored = [_only(self.token_ids[at + 1], scoring) for at in self._scored] if scoring is not None else []
        return scored + ([self._sampling(draft[:count]) for count in range(len(draft) + 1)] if self._chooses else [])

    def _sampling(self, drafted: Sequence[int]) -> RowSampling:
        params, step = self.params, len(self.token_ids) - self.prompt_tokens + len(drafted)
        counted = params.presence_penalty or params.frequency_penalty
        mask = None if self._constraint is None else self._constraint.mask()
        return RowSampling(
            params,
            self.seed,
            step,
            seen=[*self.token_ids, *drafted] if params.repetition_penalty != 1.0 else (),
            generated=[*self.completion_ids, *drafted] if counted else (),
            banned=sorted(self._stops_at) if step < params.min_tokens else (),
            mask=None if mask is None else np.asarray(mask, np.uint32).reshape(-1),
        )

    def accept(self, choices: Sequence[Choice], draft: Sequence[int], rows: Callable[[], np.ndarray]) -> int:
        accepted, scored = 0, len(self._scored)
        for position, choice in zip(self._scored, choices[:scored], strict=True):
            self._log(self.token_ids[position + 1], choice)
        if not self._chooses:
            return 0
        choices = choices[scored:]
        self.draft_tokens += len(draft)
        for choice, drafted in zip(choices, [*draft, None], strict=True):
            self.append(choice)
            if self.finished or choice.token_id != drafted:
                break
            accepted += 1
        self.accepted_tokens += accepted
        self._append_forced()
        self._hand_over()
        return accepted

    def _append_forced(self) -> None:
        """Adds what must follow. The next pass computes it as it computes a prompt, and chooses what comes after.

        Where log-probabilities are wanted every token is chosen, under a mask: the choice is what gives them.
        """
        if self._constraint is None or self.logprobs is not None or self.finished:
            return
        for token in self._constraint.forced():
            self.append(Choice(token))
            self.forced_tokens += 1
            if self.finished:
                return

    def append(self, choice: Choice) -> None:
        """Adds a chosen or forced token and decides whether the text ends with it.

        Raises `ArgumentError` where no token may be chosen.
        """
        token = choice.token_id
        if token < 0:
            raise ArgumentError("No token may come next: masks, bans and biases leave none.")
        now = time.perf_counter()
        if len(self.token_ids) == self.prompt_tokens:
            self._first_token = now
        self._ended = now
        self.token_ids.append(token)
        self._log(token, choice)
        if self._constraint is not None:
            self._constraint.advance(token)
        if token in self._stops_at:
            self._finish("eos")
            return
        self.text += self._decoder.push(token)
        if not self._cut_at_stop() and len(self.token_ids) >= self._limit:
            self._finish("length")

    def _log(self, token: int, choice: Choice) -> None:
        if self.logprobs is not None:
            self.logprobs.append(TokenLogprob(token, choice.logprob, list(choice.top)))

    def _hand_over(self) -> None:
        """Delivers new text. A tail that may be the beginning of a stop string is held back until later tokens or the
        end of the text decide."""
        if self._deliver is None:
            return
        end = len(self.text)
        if not self.finished:
            for stop in self.params.stop:
                for n in range(min(len(stop) - 1, end), 0, -1):
                    if self.text.endswith(stop[:n]):
                        end = min(end, len(self.text) - n)
                        break
        piece = self._echo_due + self.text[self._delivered : end]
        self._echo_due, self._delivered = "", end
        if piece or not self._began:
            self._began = True
            self._deliver(piece)

    def completion(self) -> Completion:
        """The result, once the generation is finished."""
        ids, cached = self.completion_ids, self.cached_tokens or 0
        prefill, decode = self._first_token - self.started, self._ended - self._first_token
        return Completion(
            text=self._echo + self.text,
            token_ids=list(self.token_ids) if self.params.echo else ids,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=len(ids),
            stop_reason=self.stop_reason or "",
            prefill_tps=(self.prompt_tokens - cached) / prefill if prefill > 0 else 0.0,
            decode_tps=(len(ids) - 1) / decode if decode > 0 else 0.0,
            cached_tokens=cached,
            draft_tokens=self.draft_tokens,
            accepted_tokens=self.accepted_tokens,
            forced_tokens=self.forced_tokens,
            logprobs=self.logprobs,
            seed=self.seed,
            stop_string=self.stop_string,
        )

    def _finish(self, reason: str) -> None:
        self.text += self._decoder.flush()
        if not self._cut_at_stop():
            self.stop_reason = reason

    def _cut_at_stop(self) -> bool:
        """Cuts the text before a stop string that the last token completed; returns whether there was one."""
        if len(self.token_ids) - self.prompt_tokens < self.params.min_tokens:
            self._searched = len(self.text)
            return False
        starts = ((stop, max(0, self._searched - len(stop) + 1)) for stop in self.params.stop)
        found = [(at, stop) for stop, at in ((stop, self.text.find(stop, start)) for stop, start in starts) if at >= 0]
        self._searched = len(self.text)
        if not found:
            return False
        at, self.stop_string = min(found)
        self.text = self.text[:at]
        self.stop_reason = "stop"
        return True


def _only(token: int, params: SamplingParams) -> RowSampling:
    """Masks every token but `token`, so that `token` is chosen and its log-probability comes with the choice."""
    mask = np.zeros(token // 32 + 1, np.uint32)
    mask[-1] = 1 << token % 32
    return RowSampling(params, seed=0, step=0, mask=mask)
