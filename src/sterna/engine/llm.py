"""`LLM`: a model that completes text. Callers on several threads share its batches."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from pathlib import Path
from typing import Any, overload

import numpy as np

from sterna import _native
from sterna._native import BLOCK_SIZE
from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.engine.blocks import BlockAllocator
from sterna.engine.machine import checked_threads, choose_isa, default_threads
from sterna.engine.runner import Runner, Span
from sterna.engine.sampling import SamplingParams
from sterna.engine.scheduler import TOKENS_PER_STEP, Chunk, Scheduler
from sterna.engine.sequence import Completion, Sequence
from sterna.errors import ArgumentError, ContextLengthError
from sterna.model.architectures import build_plan
from sterna.model.tokenizer import StreamDecoder, Tokenizer

EMBEDDED_MODEL = Path(__file__).parent.parent / "models" / "sterna-tern.gguf"

POOL_TOKENS = 65536
"""Positions that the KV pool can hold when contexts are shorter: address space, memory only when it is used."""

Prompt = str | SequenceOf[int]


class LLM:
    """A language model on the CPU.

    `model`: path of a GGUF file or a folder, or a `Checkpoint`; None is the embedded model. `threads`: default
    `STERNA_THREADS`, else all processors. `ctx`: most positions of a sequence, default and upper bound the model's own
    context length. `activations`: `int8` (the contract for ternary matrices) or `float`.
    Raises `FormatError`, `UnsupportedError` or `ArgumentError` with one sentence.
    """

    def __init__(
        self,
        model: str | Path | Checkpoint | None = None,
        *,
        threads: int | None = None,
        ctx: int | None = None,
        activations: str = "int8",
    ) -> None:
        if activations not in ("int8", "float"):
            raise ArgumentError("activations must be 'int8' or 'float'.")
        self.threads = default_threads() if threads is None else checked_threads(threads)
        if not isinstance(model, Checkpoint):
            model = open_checkpoint(EMBEDDED_MODEL if model is None else model)
        self.checkpoint = model
        config = self.checkpoint.config
        if ctx is not None and not 1 < ctx <= config.context_length:
            raise ArgumentError(f"ctx must be from 2 to {config.context_length}, the context length of this model.")
        self.context_length = ctx or config.context_length
        self.vocab_size = config.vocab_size
        self.isa = choose_isa()
        self._tokenizer: Tokenizer | None = None
        per_context = -(-self.context_length // BLOCK_SIZE)
        num_blocks = max(2 * per_context, POOL_TOKENS // BLOCK_SIZE)
        plan = build_plan(config, self.checkpoint.tensors, int8=activations == "int8")
        self._runner = Runner(plan, self.checkpoint.tensors, isa=self.isa, threads=self.threads, blocks=num_blocks)
        self._allocator = BlockAllocator(num_blocks, max_cached=2 * per_context)
        self._scheduler = Scheduler(self._allocator, self.context_length)
        self._lock = threading.Lock()

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, read when first asked for. Raises `FormatError` where the model has none."""
        if self._tokenizer is None:
            path = self.checkpoint.path
            # A GGUF file's metadata has been read already; a folder keeps its tokenizer in files of its own.
            self._tokenizer = (
                Tokenizer(path) if path.is_dir() else Tokenizer.from_gguf_metadata(self.checkpoint.metadata)
            )
        return self._tokenizer

    @overload
    def generate(self, prompts: str, **params: Any) -> str: ...
    @overload
    def generate(self, prompts: SequenceOf[int], **params: Any) -> str: ...
    @overload
    def generate(self, prompts: SequenceOf[Prompt], **params: Any) -> list[str]: ...
    def generate(self, prompts: Any, **params: Any) -> str | list[str]:
        """Completes one prompt (text or token ids; str out) or a list of prompts (list out); see `SamplingParams`."""
        if _is_prompt(prompts):
            return self.complete([prompts], **params)[0].text
        return [completion.text for completion in self.complete(prompts, **params)]

    def complete(self, prompts: SequenceOf[Prompt], **params: Any) -> list[Completion]:
        """Completes prompts together; the results carry token ids, the reason to stop, and speeds.

        Raises `ContextLengthError` where a prompt leaves no room in the context.
        """
        sequences = [self._sequence(prompt, params) for prompt in prompts]
        try:
            with self._lock:
                for sequence in sequences:
                    self._scheduler.add(sequence)
            for sequence in sequences:
                self._finish(sequence)
        finally:
            self._abandon(sequences)
        return [sequence.completion() for sequence in sequences]

    def stream(self, prompt: Prompt, **params: Any) -> Iterator[str]:
        """Yields the completion piece by piece; the pieces joined are what `generate` gives."""
        for piece, _ in self.stream_completion(prompt, **params):
            if piece:
                yield piece

    def stream_completion(self, prompt: Prompt, **params: Any) -> Iterator[tuple[str, Completion | None]]:
        """As `stream`, with the `Completion` beside the last piece and None beside the others."""
        sequence = self._sequence(prompt, params)
        try:
            with self._lock:
                self._scheduler.add(sequence)
            while not sequence.finished:
                with self._lock:
                    if not sequence.finished:
                        self._step()
                if not sequence.finished and (piece := sequence.take_text()):
                    yield piece, None
            if sequence.error is not None:
                raise sequence.error
            yield sequence.take_text(), sequence.completion()
        finally:
            self._abandon([sequence])

    def chat(self, messages: SequenceOf[Mapping[str, str]], **params: Any) -> str:
        """The model's answer to messages `{"role": ..., "content": ...}`, by the model's chat template."""
        return self.generate(self.tokenizer.encode_chat(messages), **params)

    def embed(self, texts: SequenceOf[Prompt]) -> np.ndarray:
        """One vector a text: the last token's hidden state, L2-normalised; float32 `[n, hidden_size]`."""
        rows = np.stack([self.hidden(self._encode(text))[-1] for text in texts])
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    def hidden(self, token_ids: SequenceOf[int] | np.ndarray) -> np.ndarray:
        """Hidden states after the last norm, one causal pass; float32 `[n, hidden_size]`."""
        ids = self._checked(token_ids, self.context_length)
        with self._lock:
            # A scratch sequence of its own; generation waits meanwhile, so its blocks come from the same allocator.
            needed = -(-len(ids) // BLOCK_SIZE)
            while self._allocator.available - self._scheduler.promised < needed:
                self._step()
            blocks = [self._allocator.allocate() for _ in range(needed)]
            try:
                return np.concatenate(
                    [
                        self._runner.forward([Span(ids[at : at + TOKENS_PER_STEP], at, blocks, "all")])
                        for at in range(0, len(ids), TOKENS_PER_STEP)
                    ]
                )
            finally:
                self._allocator.release(blocks)

    def logits(self, token_ids: SequenceOf[int] | np.ndarray) -> np.ndarray:
        """Logits of every position, one causal pass; float32 `[n, vocab]`."""
        return self._runner.logits(self.hidden(token_ids))

    def head(self, hidden: np.ndarray) -> np.ndarray:
        """Logits float32 `[n, vocab]` of hidden states float32 `[n, hidden_size]`, to ask for in parts."""
        return self._runner.logits(np.ascontiguousarray(hidden, np.float32))

    def _encode(self, prompt: Prompt) -> SequenceOf[int]:
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt

    def _checked(self, token_ids: SequenceOf[int] | np.ndarray, limit: int) -> list[int]:
        ids = [int(token) for token in token_ids]
        if not ids:
            raise ArgumentError("The prompt is empty, and this model has no token that begins a text.")
        if not all(0 <= token < self.vocab_size for token in ids):
            raise ArgumentError(f"A token id is outside the vocabulary of {self.vocab_size}.")
        if len(ids) > limit:
            raise ContextLengthError(
                f"The prompt has {len(ids)} tokens, but the context of {self.context_length} has room for {limit}; "
                "shorten the prompt or raise the context."
            )
        return ids

    def _sequence(self, prompt: Prompt, params: Mapping[str, Any]) -> Sequence:
        try:
            sampling = SamplingParams(**{**params, "stop": _as_tuple(params.get("stop", ()))})
        except TypeError as error:
            raise ArgumentError(f"These generation options do not fit: {error}.") from None
        ids = self._checked(self._encode(prompt), self.context_length - 1)
        if isinstance(prompt, str) or self._has_tokenizer():
            return Sequence(ids, sampling, self.tokenizer.eos_ids, self.tokenizer.stream(continuation=True))
        return Sequence(ids, sampling, frozenset(), StreamDecoder(lambda token: b""))

    def _has_tokenizer(self) -> bool:
        """False for a model of weights alone, which still completes token ids."""
        return self.checkpoint.path.is_dir() or "tokenizer.ggml.tokens" in self.checkpoint.metadata

    def _finish(self, sequence: Sequence) -> None:
        while not sequence.finished:
            with self._lock:
                # Another caller's step may have finished it while this one waited.
                if not sequence.finished:
                    self._step()
        if sequence.error is not None:
            raise sequence.error

    def _abandon(self, sequences: SequenceOf[Sequence]) -> None:
        with self._lock:
            for sequence in sequences:
                self._scheduler.remove(sequence)

    def _step(self) -> None:
        """One forward pass over what the scheduler chose; the lock is held."""
        chunks = self._scheduler.schedule()
        try:
            self._advance(chunks)
        except Exception as error:
            for chunk in chunks:
                chunk.sequence.error = error
        for chunk in chunks:
            if chunk.sequence.finished:
                self._scheduler.remove(chunk.sequence)

    def _advance(self, chunks: SequenceOf[Chunk]) -> None:
        choosing = [chunk for chunk in chunks if chunk.end == len(chunk.sequence.token_ids)]
        hidden = self._runner.forward(
            [
                Span(
                    chunk.sequence.token_ids[chunk.start : chunk.end],
                    chunk.start,
                    chunk.sequence.blocks,
                    "last" if chunk.end == len(chunk.sequence.token_ids) else "none",
                )
                for chunk in chunks
            ]
        )
        for chunk in chunks:
            self._scheduler.computed(chunk)
        if choosing:
            chosen = self._runner.select(hidden, [_native_sampling(chunk.sequence) for chunk in choosing])
            for chunk, token in zip(choosing, chosen, strict=True):
                chunk.sequence.append(int(token), self.context_length)


def _is_prompt(prompts: Any) -> bool:
    return isinstance(prompts, str) or (len(prompts) > 0 and not isinstance(prompts[0], (str, list, tuple, np.ndarray)))


def _as_tuple(stop: str | SequenceOf[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _native_sampling(sequence: Sequence) -> _native.Sampling:
    params = sequence.params
    return _native.Sampling(
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        seed=params.seed,
        step=len(sequence.token_ids) - sequence.prompt_tokens,
        penalized=sequence.token_ids if params.repetition_penalty != 1.0 else [],
    )
