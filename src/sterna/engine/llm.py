"""`LLM`: a model that completes text. Callers on several threads share its batches."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

import numpy as np

from sterna._native import Profile
from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine.adapters import Adapters, each
from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.backend import Backend
from sterna.engine.checks import with_names
from sterna.engine.devices import choose_device, open_backend
from sterna.engine.generation import Completion, Constraint, Deliver, Generation
from sterna.engine.grammar import Grammar, Grammars
from sterna.engine.head import HeadError, measure_head, requantize_head, sample_ids
from sterna.engine.kv_cache import KvCache
from sterna.engine.loop import CLOSED, Loop
from sterna.engine.machine import choose_isa, default_threads
from sterna.engine.native import NativeBackend
from sterna.engine.options import ACTIVATIONS, TOKENS_PER_PASS, EngineOptions
from sterna.engine.progress import Progress, Waiting
from sterna.engine.prompts import Prompt, checked_ids, is_one_prompt, too_long
from sterna.engine.request import Done, HiddenRequest, Request, ScoreRequest
from sterna.engine.sampling import SamplingParams
from sterna.engine.scheduler import Scheduler
from sterna.engine.statistics import Statistics
from sterna.errors import ArgumentError, OptionError, UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.model.architectures import build_plan
from sterna.model.tokenizer import StreamDecoder, Tokenizer

if TYPE_CHECKING:
    from sterna.engine.inbox import Inbox

POOL_TOKENS = 65536
"""Positions that the KV cache holds, unless two contexts need more. Only address space is reserved: memory is taken
when it is first used."""

L = TypeVar("L", bound="LLM")


class LLM:
    """A language model on the CPU or a GPU (`device`), for callers on any thread.

    `model`: a GGUF file or a folder, by its path or as `resolve_model` finds it, or a `Checkpoint`; None is the
    embedded model, `sterna-tern`. Options are those of `EngineOptions`, as an object or by their names. `adapters`:
    paths by name, as `load_adapter` takes them; all methods that compute take `adapter`: None, the name of one, or a
    mapping of names to scales; for a list of prompts also a list with one of these for each.
    `close`, or the end of a `with` block, frees the memory; otherwise it is freed with the last reference.
    Raises `NotFoundError`, `NetworkError`, `FormatError`, `UnsupportedError` or `ArgumentError` with one sentence.
    """

    def __init__(
        self,
        model: str | Path | Checkpoint | None = None,
        options: EngineOptions | None = None,
        *,
        adapters: Mapping[str, str | Path] | None = None,
        **named: Any,
    ) -> None:
        self.options = with_names(options, EngineOptions, named)
        self.threads = default_threads() if self.options.threads is None else self.options.threads
        self.device = choose_device(self.options.device)
        self._file = _checkpoint(model, self.options.i2s_layout)
        config = self._file.config
        limit = config.context_length
        if self.options.ctx is not None and self.options.ctx > limit:
            raise OptionError("ctx", f"is at most {limit}, the context of this model, not {self.options.ctx}.")
        self.context_length = self.options.ctx or limit
        self.vocab_size = config.vocab_size
        self.hidden_size = config.hidden_size
        self.isa = choose_isa()
        self.checkpoint = requantize_head(self._file, self.options.head, isa=self.isa, threads=self.threads)
        plan = build_plan(
            self.checkpoint.config,
            self.checkpoint.tensors,
            activations=ACTIVATIONS[self.options.activations],
        )
        pool_tokens, block_size = self.options.pool_tokens, NativeBackend.block_size
        # Twice the context: while one sequence may fill its own, another can begin.
        least_tokens = 2 * self.context_length if pool_tokens is None else max(self.context_length, pool_tokens)
        with ThreadPoolExecutor(1) as executor:
            # Reading the vocabulary is bound by Python, loading the weights by memory, so they run at the same time.
            loading = executor.submit(self.checkpoint.tokenizer) if self.checkpoint.has_tokenizer else None
            backend = open_backend(
                self.device,
                plan,
                self.checkpoint.tensors,
                isa=self.isa,
                threads=self.threads,
                blocks=-(-max(least_tokens, pool_tokens or POOL_TOKENS) // block_size),
                least_blocks=-(-least_tokens // block_size),
                kv=self.options.kv,
                mmap=self.options.mmap,
            )
        self._tokenizer = loading
        self._head_error: HeadError | None = None
        self._cache = KvCache(backend.pools, backend.block_size, self.context_length, TOKENS_PER_PASS)
        self._loop = Loop(backend, Scheduler(self._cache))
        self._description = (
            f"{self._file.name!r}: {config.architecture}, "
            f"{sum(prod(tensor.shape) for tensor in self._file.tensors.values()):,} parameters, "
            f"context {self.context_length}, {self.where}"
        )
        self._adapters = Adapters(config, self.checkpoint.tensors, backend.load_adapter)
        for name, path in (adapters or {}).items():
            self._adapters.add(name, path)
        self._closed = False
        self._finalizer = weakref.finalize(self, self._loop.close)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        return f"<LLM {self._description}{', closed' if self._closed else ''}>"

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "An LLM cannot be pickled or copied, for its weights and its thread belong to this process; "
            "make one from the model's path wherever it is needed."
        )

    def close(self) -> None:
        """Ends the engine's thread and frees the memory; requests that have not finished fail.

        Every later call but `close` raises `UnsupportedError`. In a callback of a request, which runs on the engine's
        thread, `close` returns before the thread has ended.
        """
        self._closed = True
        loop = self.__dict__.pop("_loop", None)
        if loop is None:
            return
        self._finalizer.detach()
        loop.close()
        loop.join()
        del self._adapters, self._cache, self._file, self.checkpoint

    def __getattr__(self, name: str) -> NoReturn:
        """Raises `UnsupportedError` for the attributes that `close` deletes."""
        if name in ("_loop", "_adapters", "_cache", "_file", "checkpoint") and self.__dict__.get("_closed"):
            raise UnsupportedError(CLOSED)
        raise AttributeError(f"'LLM' object has no attribute {name!r}")

    @property
    def where(self) -> str:
        """Where the model runs, for people: threads and instruction set, or the GPU."""
        return self.device if self.device != "cpu" else f"{self.threads} threads, {self.isa}"

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises `FormatError` where the model has none, or the error that reading it gave."""
        return self._tokenizer.result() if self._tokenizer else self.checkpoint.tokenizer()

    @property
    def grammars(self) -> Grammars:
        """The compiled grammars of this model. Raises as `tokenizer`."""
        grammars: Grammars | None = self.__dict__.get("_grammars")
        if grammars is None:
            # Callers on several threads may come here together; `setdefault` gives all of them the same.
            grammars = self.__dict__.setdefault("_grammars", Grammars(self.tokenizer, self.vocab_size))
        return grammars

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters that are loaded."""
        return self._adapters.names

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Loads a folder of PEFT or a GGUF adapter under a name, while the model runs.

        Raises NotFoundError, FormatError or UnsupportedError for an adapter that cannot be used with this model,
        ArgumentError for a name that is taken.
        """
        self._adapters.add(name, path)

    def unload_adapter(self, name: str) -> None:
        """Forgets an adapter at once, and returns when no request runs with it any more; then its memory is free.

        Raises ArgumentError for an unknown name, UnsupportedError in a callback of a request.
        """
        self._loop.check_thread()
        self._loop.wait_for(self._adapters.remove(name))

    @overload
    def generate(
        self, prompts: str | Sequence[int] | np.ndarray, params: SamplingParams | None = None, **named: Any
    ) -> str: ...
    @overload
    def generate(self, prompts: Sequence[Prompt], params: SamplingParams | None = None, **named: Any) -> list[str]: ...
    def generate(self, prompts: Any, params: SamplingParams | None = None, **named: Any) -> str | list[str]:
        """Completes one prompt (text or token ids; str out) or a list of prompts (list out).

        Options are those of `SamplingParams`, as an object or by their names, and the form of the text
        (`json_schema`, `regex`, `choice`, `grammar`) as `generation` takes it, as in all methods here; `progress` as in
        `complete`.
        """
        if is_one_prompt(prompts):
            return self.complete([prompts], params, **named)[0].text
        return [completion.text for completion in self.complete(prompts, params, **named)]

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        progress: Progress | None = None,
        **named: Any,
    ) -> list[Completion]:
        """Completes prompts together; the results carry token ids, the stop reason, and speeds.

        `progress` is called about ten times a second with the share of the prompts' tokens that are computed. Raises
        `ContextLengthError` where a prompt leaves no room in the context, `ArgumentError` for options or prompts that
        are not valid.
        """
        finished: SimpleQueue[Request] = SimpleQueue()
        generations = self.generations(prompts, params, done=finished.put, **named)
        self._run(generations, finished, progress)
        return [generation.completion() for generation in generations]

    def stream(self, prompt: Prompt, params: SamplingParams | None = None, **named: Any) -> Iterator[str]:
        """Yields the completion piece by piece; the pieces joined are what `generate` gives. `progress` as in
        `complete`."""
        for piece, _ in self.stream_completion(prompt, params, **named):
            if piece:
                yield piece

    def stream_completion(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        progress: Progress | None = None,
        **named: Any,
    ) -> Iterator[tuple[str, Completion | None]]:
        """As `stream`, with the `Completion` beside the last piece and None beside the others."""
        events: SimpleQueue[str | Request] = SimpleQueue()
        generation = self.generation(prompt, params, done=events.put, deliver=events.put, **named)
        try:
            self._loop.check_thread()
            self.submit([generation])
            waiting = Waiting([generation], progress)
            event = waiting.next(events)
            waiting.over()
            while isinstance(event, str):
                yield event, None
                event = events.get()
            if generation.error is not None:
                raise generation.error
            yield "", generation.completion()
        finally:
            self.cancel([generation])

    def generation(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        done: Done,
        deliver: Deliver | None = None,
        constraint: Constraint | None = None,
        json_schema: Mapping[str, Any] | str | bool | None = None,
        regex: str | None = None,
        choice: Sequence[str] | None = None,
        grammar: Grammar | str | None = None,
        shown: Collection[str] = (),
        adapter: AdapterChoice = None,
        **named: Any,
    ) -> Generation:
        """A request for `submit`. `deliver` receives its text piece by piece, and `done` the request when it has ended;
        both are called on the engine's thread, so they must return quickly.

        The form of the text is given by one of `json_schema` (a mapping or JSON text), `regex`, `choice` (a list of
        texts) and `grammar` (a `Grammar`, or a text in GBNF or Lark); a text that ends by itself has that form. Or a
        `constraint` says which tokens may come next. With either nothing is drafted. `shown`: special tokens, by their
        names, that are part of the text. Raises `GrammarError` for a form that cannot be followed.
        """
        sampling = with_names(params, SamplingParams, named)
        form = Grammar.of(json_schema, regex, choice, grammar)
        if form is not None:
            if constraint is not None:
                raise ArgumentError("A text has one form: give a grammar or a constraint, not both.")
            if sampling.ignore_eos:
                raise OptionError("ignore_eos", "is not for a text with a grammar, which ends where the grammar does.")
            constraint = self.grammars.compile(form)
        if any(token >= self.vocab_size for token in sampling.logit_bias):
            raise OptionError("logit_bias", f"has a token id outside the vocabulary of {self.vocab_size}.")
        if isinstance(prompt, str) or self.checkpoint.has_tokenizer:
            eos_ids, decoder = self.tokenizer.eos_ids, self.tokenizer.stream(continuation=True, shown=shown)
        else:
            eos_ids, decoder = frozenset(), StreamDecoder(lambda token: b"")
        ids = self._checked(self._encode(prompt, self.context_length - 1), self.context_length - 1)
        return Generation(
            ids,
            sampling,
            context_length=self.context_length,
            eos_ids=eos_ids,
            decoder=decoder,
            done=done,
            deliver=deliver,
            constraint=constraint,
            mix=self._adapters.mix(adapter),
            prompt_text=self._text_of(prompt, ids) if sampling.echo else "",
        )

    def generations(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        done: Done,
        adapter: AdapterChoice | Sequence[AdapterChoice] = None,
        **named: Any,
    ) -> list[Generation]:
        """A `generation` for each of a list of prompts; `adapter` may be a list with one entry for each. Raises
        `ArgumentError` for a single prompt."""
        if is_one_prompt(prompts):
            raise ArgumentError("complete takes a list of prompts.")
        return [
            self.generation(prompt, params, done=done, adapter=chosen, **named)
            for prompt, chosen in zip(prompts, each(adapter, len(prompts)), strict=True)
        ]

    def inbox(self) -> Inbox[Any]:
        """For a task of the running event loop: its `put` is a `done` or a `deliver` of requests."""
        from sterna.engine.inbox import Inbox  # which imports asyncio, that only tasks need

        return Inbox(self._loop)

    def submit(self, generations: Sequence[Request]) -> None:
        """Queues requests; returns at once."""
        self._loop.submit(generations)

    def cancel(self, generations: Sequence[Request]) -> None:
        """Removes requests, finished or not; returns at once. Their callbacks are not called any more, but for one that
        is running now."""
        loop = self.__dict__.get("_loop")
        if loop is not None:  # `close` ends all requests
            loop.cancel(generations)

    def chat(self, messages: Sequence[Mapping[str, str]], params: SamplingParams | None = None, **named: Any) -> str:
        """The model's answer to messages `{"role": ..., "content": ...}`, by the model's chat template."""
        return self.generate(self.tokenizer.encode_chat(messages), params, **named)

    def tokenize(self, text: str) -> list[int]:
        """The token ids of a text, as `generate` makes them of a prompt: after BOS, where the model wants one."""
        return self.tokenizer.encode(text)

    def embed(self, texts: Sequence[Prompt], *, adapter: AdapterChoice | Sequence[AdapterChoice] = None) -> np.ndarray:
        """One vector a text: the last hidden state (or the mean, where the model says so), L2-normalised; float32
        `[n, hidden_size]`.

        Texts end with the token that the model's tokenizer puts after them, if any. Raises `UnsupportedError` for a
        model with another pooling.
        """
        finished: SimpleQueue[Request] = SimpleQueue()
        requests = self.embedding_requests(texts, finished.put, adapter)
        self._run(requests, finished)
        return self.embeddings(requests)

    def embedding_requests(
        self, texts: Sequence[Prompt], done: Done, adapter: AdapterChoice | Sequence[AdapterChoice] = None
    ) -> list[HiddenRequest]:
        """Requests for `submit`. When they have ended, `embeddings` makes vectors of them. Raises as `embed`."""
        if isinstance(texts, str):
            raise ArgumentError("embed takes a list of texts.")
        pooling = self.checkpoint.config.pooling
        if pooling not in ("last", "mean"):
            raise UnsupportedError(f"This model pools its hidden states by '{pooling}'; Sterna does last and mean.")
        requests = []
        for text, chosen in zip(texts, each(adapter, len(texts)), strict=True):
            ids = self._encode(text, self.context_length)
            if isinstance(text, str) and self.tokenizer.suffix_id is not None:
                ids = [*ids, self.tokenizer.suffix_id]
            checked = self._checked(ids, self.context_length)
            first = 0 if pooling == "mean" else len(checked) - 1
            requests.append(HiddenRequest(checked, done, first, self._adapters.mix(chosen)))
        return requests

    def embeddings(self, requests: Sequence[HiddenRequest]) -> np.ndarray:
        """The vectors of `embedding_requests` that have ended: float32 `[n, hidden_size]`, L2-normalised."""
        vectors = np.empty((len(requests), self.hidden_size), np.float32)
        for vector, request in zip(vectors, requests, strict=True):
            vector[:] = request.rows.mean(axis=0)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def hidden_request(
        self, token_ids: Sequence[int] | np.ndarray, done: Done, adapter: AdapterChoice = None
    ) -> HiddenRequest:
        """A request for `submit`, for the hidden rows of every position. When it has ended, its `rows` are float32
        `[n, hidden_size]`. Raises as `generation` for ids that are not valid or too many."""
        ids = self._checked(token_ids, self.context_length)
        return HiddenRequest(ids, done, mix=self._adapters.mix(adapter))

    def score_request(
        self, token_ids: Sequence[int] | np.ndarray, first: int, done: Done, adapter: AdapterChoice = None
    ) -> ScoreRequest:
        """A request for `submit`, for the log-probabilities of the tokens from `first` (at least 1) on. When it has
        ended, its `rows` are float32 `[n, 2]`: nats, and 1 where the token is the most likely one. One token more than
        the context may be given, for the last is not computed. Raises as `generation`, and `ArgumentError` for a
        `first` that leaves nothing to score."""
        ids = checked_ids(token_ids, self.vocab_size, self.context_length, self.context_length + 1)
        if not 1 <= first < len(ids):
            raise ArgumentError(f"Scores begin at a token from 1 to {len(ids) - 1}, not {first}.")
        return ScoreRequest(ids, first, done, self._adapters.mix(adapter))

    def scores(
        self, token_ids: Sequence[int] | np.ndarray, first: int = 1, *, adapter: AdapterChoice = None
    ) -> np.ndarray:
        """The `rows` of one `score_request`."""
        finished: SimpleQueue[Request] = SimpleQueue()
        request = self.score_request(token_ids, first, finished.put, adapter)
        self._run([request], finished)
        return request.rows

    def hidden(self, token_ids: Sequence[int] | np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """Hidden states of every position after the last norm, by one causal pass; float32 `[n, hidden_size]`."""
        finished: SimpleQueue[Request] = SimpleQueue()
        request = self.hidden_request(token_ids, finished.put, adapter)
        self._run([request], finished)
        return request.rows

    def logits(self, token_ids: Sequence[int] | np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """Logits of every position, by one causal pass; float32 `[n, vocab]`."""
        return self.head(self.hidden(token_ids, adapter=adapter), adapter=adapter)

    @property
    def head_error(self) -> HeadError | None:
        """How far a requantised head changes the logits of a sentence (of random tokens where the model has no
        tokenizer), measured at first use; None where the head is as in the file."""
        if self.checkpoint is self._file or self._head_error is not None:
            return self._head_error
        ids = sample_ids(self.tokenizer if self.checkpoint.has_tokenizer else None, self.vocab_size)
        hidden = self.hidden(ids[: self.context_length])
        self._head_error = measure_head(hidden, self.head(hidden), self._file, isa=self.isa, threads=self.threads)
        return self._head_error

    @property
    def statistics(self) -> Statistics:
        """What the engine is doing, without waiting for it. Raises `UnsupportedError` after `close`."""
        return Statistics.of(self._loop.scheduler, self._cache, self._backend.block_bytes)

    def limit_cache(self, limit: int) -> None:
        """Lets the KV cache take no more than `limit` bytes, from the next pass on. What it has taken it keeps, and it
        may always take `statistics.least_cache_bytes`. Requests that find no room wait, as in a full cache."""
        block_bytes = self._backend.block_bytes
        self._loop.call(lambda: self._cache.limit(limit, block_bytes))

    @contextmanager
    def profiled(self) -> Iterator[Profile]:
        """Times the passes that run inside a `with` block; no other request may run beside them. Raises
        `UnsupportedError` on a GPU, whose passes nothing times."""
        backend = self._backend
        if not isinstance(backend, NativeBackend):
            raise UnsupportedError("Only passes on the CPU are timed; use the device cpu.")
        backend.profile = profile = Profile()
        try:
            yield profile
        finally:
            backend.profile = None

    def head(self, hidden: np.ndarray, *, adapter: AdapterChoice = None) -> np.ndarray:
        """Logits float32 `[n, vocab]` of hidden states float32 `[n, hidden_size]`; lets callers compute them in parts.
        An adapter adds what it has for the head alone.

        Raises `ArgumentError` for rows of another width.
        """
        rows = np.ascontiguousarray(hidden, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.hidden_size:
            raise ArgumentError(f"Hidden states must have the shape [n, {self.hidden_size}].")
        mix = self._adapters.mix(adapter)
        return self._loop.call(lambda: self._loop.backend.logits(rows, mix))

    def settle(self) -> None:
        """Copies weights into memory to the end, for measurements; otherwise that goes on between the first passes."""
        self._loop.call(lambda: self._loop.backend.settle())

    @property
    def _backend(self) -> Backend:
        return self._loop.backend

    def _run(
        self, requests: Sequence[Request], finished: SimpleQueue[Request], progress: Progress | None = None
    ) -> None:
        """Runs requests, whose `done` must be `finished.put`, until all have ended. Raises the first error of one."""
        try:
            self._loop.check_thread()
            self.submit(requests)
            waiting = Waiting(requests, progress)
            for _ in requests:
                error = waiting.next(finished).error
                if error is not None:
                    raise error
            waiting.over()
        finally:
            self.cancel(requests)

    def _encode(self, prompt: Prompt, limit: int) -> Sequence[int] | np.ndarray:
        """The ids of a text; ids are returned as they are. Raises `ContextLengthError` for a text of more than `limit`
        tokens, which it does not encode to its end."""
        if not isinstance(prompt, str):
            return prompt
        ids = self.tokenizer.encode(prompt, limit=limit)
        if len(ids) > limit:
            raise too_long(f"more than {limit}", self.context_length, limit)
        return ids

    def _text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The text of a prompt; empty for ids of a model without a tokenizer."""
        if isinstance(prompt, str):
            return prompt
        if not self.checkpoint.has_tokenizer:
            return ""
        decoder = self.tokenizer.stream()
        return "".join(map(decoder.push, ids)) + decoder.flush()

    def _checked(self, token_ids: Sequence[int] | np.ndarray, room: int) -> list[int]:
        return checked_ids(token_ids, self.vocab_size, self.context_length, room)


def _checkpoint(model: str | Path | Checkpoint | None, i2s_layout: str) -> LoadedCheckpoint:
    if model is None or isinstance(model, Checkpoint):
        if i2s_layout != "x86":
            raise OptionError("i2s_layout", "is for GGUF files; the layout of this model is known.")
        return open_checkpoint(EMBEDDED_MODEL).load() if model is None else model.load()
    if not isinstance(model, (str, Path)) or not str(model) or "\0" in str(model):
        raise ArgumentError("A model is the path of a GGUF file or of a folder, or its name on the hub.")
    return open_checkpoint(model, i2s_layout).load()
