"""The answer to a question while the engine makes it, piece by piece."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sterna.engine.generation import Completion, Generation, TokenLogprob
from sterna.engine.llm import LLM
from sterna.engine.request import Request
from sterna.engine.sampling import SamplingParams
from sterna.server.events import CallArguments, CallStart, Event, Text, Thinking, joined
from sterna.server.question import Question
from sterna.server.shape import PlainText, Shape, shapes


@dataclass(frozen=True)
class Finish:
    """How a choice ended."""

    reason: str
    """`stop` (end of text, or a stop string), `length` (`max_tokens`, or the context is full) or `tool_calls`."""
    stop_string: str | None
    """The stop string that ended the text."""
    completion: Completion
    """The engine's own result: token ids, text, seed, speeds."""


@dataclass(frozen=True)
class Piece:
    """What one choice gained since its last piece."""

    choice: int
    events: list[Event]
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of the tokens that came since the last piece, where they were asked for."""
    finish: Finish | None = None
    """Beside the last piece."""


@dataclass(frozen=True)
class Usage:
    """Tokens of a question and its answers. The prompt counts once, however many choices continue it."""

    prompt: int
    completion: int
    cached: int
    """Tokens of the prompt that came from the prefix cache."""
    reasoning: int
    """Tokens of the completion up to the end of the thoughts."""


@dataclass(frozen=True)
class Timings:
    """Seconds that the engine took."""

    prompt: float
    """From the start of the first choice to its first token."""
    completion: float
    """From the first token to the last one of the slowest choice."""
    drafted: int
    """Tokens that prompt lookup drafted."""
    accepted: int
    """Those of them that were right."""


@dataclass(frozen=True)
class Progress:
    """How far the prompts are."""

    computed: int
    """Tokens that are computed, or came from the prefix cache."""
    seconds: float
    """Since the engine began with the first; 0 before that."""


@dataclass(frozen=True)
class Arrival:
    """A piece of a choice's text, or its end, where the text is None, and how many tokens the choice had then."""

    choice: int
    text: str | None
    tokens: int


Arrive = Callable[[Arrival, bool], None]
"""Takes what arrives, on the engine's thread, and whether somebody waits for it: for the first piece or for the end."""


class Answer:
    """The choices of one question while they are made."""

    def __init__(self, llm: LLM, question: Question, arrive: Arrive, background: bool = False) -> None:
        """Encodes the prompts. `arrive` takes what the engine makes, for `pieces`, piece by piece. In the background it
        comes all at once, which is quicker, and is computed when no other request is. Raises `ApiError`, and as
        `LLM.generation`."""
        self._llm, self._arrive, self._background = llm, arrive, background
        # The salt is a part of the prefix cache's keys: with one that is new, nothing in the cache fits these prompts.
        self._salt = b"" if question.cache_prompt else os.urandom(16)
        self._choices: list[_Choice] = []
        self._leaders: list[_Choice] = []
        for group in shapes(self._llm, question):
            first = len(self._choices)
            self._choices += [_Choice(self, question, first + n, n, shape) for n, shape in enumerate(group)]
            self._leaders.append(self._choices[first])
            self._choices[first].followers = self._choices[first + 1 :]
        self.running = len(self._choices)
        """Choices that have not ended."""

    @property
    def usage(self) -> Usage:
        """What has been counted so far."""
        return Usage(
            prompt=sum(leader.generation.prompt_tokens for leader in self._leaders),
            completion=sum(len(choice.generation.completion_ids) for choice in self._choices),
            cached=sum(leader.generation.cached_tokens or 0 for leader in self._leaders),
            reasoning=sum(choice.reasoning for choice in self._choices),
        )

    @property
    def token_ids(self) -> list[int]:
        """The ids of the first prompt and of what its first choice has so far."""
        return list(self._choices[0].generation.token_ids)

    @property
    def timings(self) -> Timings:
        """What the engine took, once the answer is complete."""
        completions = [choice.generation.completion() for choice in self._choices]
        first = completions[0]
        return Timings(
            prompt=_seconds(first.prompt_tokens - first.cached_tokens, first.prefill_tps),
            completion=max(_seconds(each.completion_tokens - 1, each.decode_tps) for each in completions),
            drafted=sum(each.draft_tokens for each in completions),
            accepted=sum(each.accepted_tokens for each in completions),
        )

    @property
    def progress(self) -> Progress:
        """How much of the prompts has been computed so far."""
        generations = [leader.generation for leader in self._leaders]
        began = [generation.started for generation in generations if generation.started]
        return Progress(
            computed=sum(min(each.num_computed, each.prompt_tokens) for each in generations),
            seconds=time.perf_counter() - min(began) if began else 0.0,
        )

    @property
    def ended(self) -> bool:
        """Whether all choices are complete."""
        return all(choice.generation.finished for choice in self._choices)

    def begin(self) -> None:
        """Submits the first choice of each prompt. Its others follow when it has computed the prompt, which the prefix
        cache then has for them."""
        self._llm.submit([leader.generation for leader in self._leaders])

    def cancel(self) -> None:
        """Takes all choices out of the engine, before its next pass."""
        self._llm.cancel([choice.generation for choice in self._choices])

    def pieces(self, arrived: Iterable[Arrival]) -> list[Piece]:
        """What the choices gained by what arrived. Raises the error with which one of them ended."""
        found: dict[int, list[Arrival]] = {}
        for arrival in arrived:
            found.setdefault(arrival.choice, []).append(arrival)
        pieces = [self._choices[index].piece(arrivals) for index, arrivals in found.items()]
        self.running -= sum(piece.finish is not None for piece in pieces)
        return pieces

    def generation(self, choice: _Choice, params: SamplingParams, shape: Shape) -> Generation:
        """The request for a choice."""
        # `Usage.reasoning` is the number of tokens when the last thoughts came, so those must come piece by piece.
        at_once = self._background and isinstance(shape.parser, PlainText)

        def end(request: Request) -> None:
            if at_once and request.error is None:
                self._arrived(choice, choice.generation.completion().text)
            self._arrived(choice, None)

        generation = self._llm.generation(
            shape.prompt,
            params,
            done=end,
            deliver=None if at_once else lambda text: self._arrived(choice, text),
            grammar=shape.grammar,
            shown=shape.shown,
        )
        generation.blocks.salt += self._salt
        generation.background = self._background
        return generation

    def _arrived(self, choice: _Choice, text: str | None) -> None:
        """Takes a piece of a choice's text, or its end, on the engine's thread."""
        followers, choice.followers = choice.followers, []
        if followers:
            self._llm.submit([follower.generation for follower in followers])
        urgent, choice.began = text is None or not choice.began, True
        self._arrive(Arrival(choice.index, text, len(choice.generation.token_ids)), urgent)


@dataclass
class Call:
    """A whole call of a tool; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str = ""


@dataclass
class Whole:
    """One choice, complete."""

    text: str = ""
    thinking: str = ""
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None

    def add(self, piece: Piece) -> None:
        """Appends the next piece."""
        for event in piece.events:
            match event:
                case Text(text):
                    self.text += text
                case Thinking(text):
                    self.thinking += text
                case CallStart(_, id, name):
                    self.calls.append(Call(id, name))
                case CallArguments(index, text):
                    self.calls[index].arguments += text
        self.logprobs += piece.logprobs
        self.finish = piece.finish


def wholes(pieces: Iterable[Piece]) -> list[Whole]:
    """The choices that pieces make, in their order."""
    choices: dict[int, Whole] = {}
    for piece in pieces:
        choices.setdefault(piece.choice, Whole()).add(piece)
    return [choices[index] for index in sorted(choices)]


class _Choice:
    """One choice while it is made."""

    def __init__(self, answer: Answer, question: Question, index: int, turn: int, shape: Shape) -> None:
        """`index` counts all choices of the answer, `turn` those of one prompt."""
        params = question.params
        if params.seed is not None and turn:
            params = replace(params, seed=(params.seed + turn) % 2**64)
        self.index, self.reasoning = index, 0
        self.followers: list[_Choice] = []
        """The other choices of its prompt, which wait for it to compute that."""
        self.began = False
        """Whether its first piece has come."""
        self._parser, self._called, self._logged = shape.parser, False, 0
        self.generation = answer.generation(self, params, shape)

    def piece(self, arrivals: Sequence[Arrival]) -> Piece:
        """What the choice gained. Raises the error with which its generation ended."""
        events: list[Event] = []
        for arrival in arrivals:
            new = self._parser.finish() if arrival.text is None else self._parser.feed(arrival.text)
            if any(isinstance(event, Thinking) for event in new):
                self.reasoning = arrival.tokens - self.generation.prompt_tokens
            events += new
        self._called = self._called or any(isinstance(event, CallStart) for event in events)
        finish = self._finish() if arrivals[-1].text is None else None
        logprobs = (self.generation.logprobs or [])[self._logged :]
        self._logged += len(logprobs)
        return Piece(self.index, joined(events), logprobs, finish)

    def _finish(self) -> Finish:
        if self.generation.error is not None:
            raise self.generation.error
        completion = self.generation.completion()
        reason = "length" if completion.stop_reason == "length" else "tool_calls" if self._called else "stop"
        return Finish(reason, completion.stop_string, completion)


def _seconds(tokens: int, speed: float) -> float:
    """How long so many tokens took; 0 where the speed is unknown."""
    return tokens / speed if speed else 0.0
