"""`LLM`: a model that completes text. Callers on several threads share its batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from sterna._native import BLOCK_SIZE
from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.checkpoint import LoadedCheckpoint
from sterna.engine.core import Engine
from sterna.engine.head import SAMPLE, HeadError, check_head, measure_head, requantize_head
from sterna.engine.machine import checked_threads, choose_isa, default_threads
from sterna.engine.runner import Runner
from sterna.engine.sampling import SamplingParams
from sterna.engine.sequence import Completion, Sequence
from sterna.errors import ArgumentError, ContextLengthError, UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.model.architectures import build_plan
from sterna.model.tokenizer import StreamDecoder, Tokenizer

POOL_TOKENS = 65536
"""Positions that the KV pool can hold when contexts are shorter: address space, memory only when it is used."""

KV_TYPES = ("f16", "int8", "f32")
ACTIVATIONS = {"int8": "int8", "int15": "int15", "float": "none"}
"""What ternary matrices take, and what a plan calls it."""

Prompt = str | SequenceOf[int] | np.ndarray


class LLM:
    """A language model on the CPU.

    `model`: a GGUF file or a folder, by its path or as `resolve_model` finds it, or a `Checkpoint`; None is the
    embedded model. `threads`: default `STERNA_THREADS`, else all processors. `ctx`: most positions of a sequence,
    default and upper bound the model's own context length (its sliding window, if that is shorter). `activations`:
    `int8` (the contract for ternary matrices) or `float`. `kv`: keys and values are kept in `f16`, or in `int8` with a
    scale for each head and position, which takes half the memory. `head`: `full`, the output matrix as in the file, or
    `q8_0`, `q6_k`, `q4_0`, into which it is requantised (`head_error` tells what that costs). `i2s_layout`: how a GGUF
    file keeps its I2_S matrices (`open_checkpoint`).
    Raises `NotFoundError`, `NetworkError`, `FormatError`, `UnsupportedError` or `ArgumentError` with one sentence.
    """

    def __init__(
        self,
        model: str | Path | Checkpoint | None = None,
        *,
        threads: int | None = None,
        ctx: int | None = None,
        activations: str = "int8",
        i2s_layout: str = "x86",
        kv: str = "f16",
        head: str = "full",
    ) -> None:
        check_head(head)
        if kv not in KV_TYPES:
            raise ArgumentError(f"kv must be {', '.join(KV_TYPES)}, not {kv!r}.")
        if activations not in ACTIVATIONS:
            raise ArgumentError(f"activations must be {', '.join(ACTIVATIONS)}, not {activations!r}.")
        self.threads = default_threads() if threads is None else checked_threads(threads)
        self._file = _checkpoint(model, i2s_layout)
        config = self._file.config
        limit = config.context_length
        if ctx is not None and not (type(ctx) is int and 1 < ctx <= limit):
            raise ArgumentError(f"ctx must be from 2 to {limit}, the context length of this model.")
        self.context_length = ctx or limit
        self.vocab_size = config.vocab_size
        self.hidden_size = config.hidden_size
        self.isa = choose_isa()
        self.checkpoint = requantize_head(self._file, head, isa=self.isa, threads=self.threads)
        least_blocks = 2 * -(-self.context_length // BLOCK_SIZE)
        plan = build_plan(
            self.checkpoint.config,
            self.checkpoint.tensors,
            activations=ACTIVATIONS[activations],
        )
        with ThreadPoolExecutor(1) as executor:
            # The vocabulary takes Python's time, the weights memory's: both at once.
            loading = executor.submit(self.checkpoint.tokenizer) if self.checkpoint.has_tokenizer else None
            runner = Runner(
                plan,
                self.checkpoint.tensors,
                isa=self.isa,
                threads=self.threads,
                blocks=max(least_blocks, POOL_TOKENS // BLOCK_SIZE),
                least_blocks=least_blocks,
                kv=kv,
            )
        self._tokenizer = loading
        self.kv = kv
        self._engine = Engine(runner, self.context_length)

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises `FormatError` where the model has none, or what was wrong when it was read."""
        return self._tokenizer.result() if self._tokenizer else self.checkpoint.tokenizer()

    @overload
    def generate(self, prompts: str | SequenceOf[int] | np.ndarray, **params: Any) -> str: ...
    @overload
    def generate(self, prompts: SequenceOf[Prompt], **params: Any) -> list[str]: ...
    def generate(self, prompts: Any, **params: Any) -> str | list[str]:
        """Completes one prompt (text or token ids; str out) or a list of prompts (list out); see `SamplingParams`."""
        if _is_one_prompt(prompts):
            return self.complete([prompts], **params)[0].text
        return [completion.text for completion in self.complete(prompts, **params)]

    def complete(self, prompts: SequenceOf[Prompt], **params: Any) -> list[Completion]:
        """Completes prompts together; the results carry token ids, the reason to stop, and speeds.

        Raises `ContextLengthError` where a prompt leaves no room in the context, `ArgumentError` for options or prompts
        that cannot be.
        """
        if _is_one_prompt(prompts):
            raise ArgumentError("complete takes a list of prompts.")
        sequences = [self._sequence(prompt, params) for prompt in prompts]
        try:
            self._engine.submit(sequences)
            for sequence in sequences:
                while not sequence.finished:
                    self._engine.advance(sequence)
                if sequence.error is not None:
                    raise sequence.error
        finally:
            self._engine.abandon(sequences)
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
            self._engine.submit([sequence])
            while not sequence.finished:
                piece = self._engine.advance(sequence)
                yield piece, sequence.completion() if sequence.finished else None
        finally:
            self._engine.abandon([sequence])

    def chat(self, messages: SequenceOf[Mapping[str, str]], **params: Any) -> str:
        """The model's answer to messages `{"role": ..., "content": ...}`, by the model's chat template."""
        return self.generate(self.tokenizer.encode_chat(messages), **params)

    def embed(self, texts: SequenceOf[Prompt]) -> np.ndarray:
        """One vector a text: the last hidden state (or the mean, where the model says so), L2-normalised; float32
        `[n, hidden_size]`.

        Texts end with the token that the model's tokenizer puts after them, if any. Raises `UnsupportedError` for a
        model with another pooling.
        """
        if isinstance(texts, str):
            raise ArgumentError("embed takes a list of texts.")
        pooling = self.checkpoint.config.pooling
        if pooling not in ("last", "mean"):
            raise UnsupportedError(f"This model pools its hidden states by '{pooling}'; Sterna does last and mean.")
        vectors = np.empty((len(texts), self.hidden_size), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            ids = self._encode(text)
            if isinstance(text, str) and self.tokenizer.suffix_id is not None:
                ids = [*ids, self.tokenizer.suffix_id]
            hidden = self.hidden(ids)
            vector[:] = hidden[-1] if pooling == "last" else hidden.mean(axis=0)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def hidden(self, token_ids: SequenceOf[int] | np.ndarray) -> np.ndarray:
        """Hidden states after the last norm, one causal pass; float32 `[n, hidden_size]`."""
        return self._engine.hidden(self._checked(token_ids, self.context_length))

    def logits(self, token_ids: SequenceOf[int] | np.ndarray) -> np.ndarray:
        """Logits of every position, one causal pass; float32 `[n, vocab]`."""
        return self.head(self.hidden(token_ids))

    @cached_property
    def head_error(self) -> HeadError | None:
        """What a requantised head does to the logits of a sentence (of random tokens where the model has no
        tokenizer), measured when first asked for; None where the head is as in the file."""
        if self.checkpoint is self._file:
            return None
        ids = (
            self.tokenizer.encode(SAMPLE)
            if self.checkpoint.has_tokenizer
            else np.random.default_rng(0).integers(0, self.vocab_size, 16)
        )
        hidden = self.hidden(ids[: self.context_length])
        return measure_head(hidden, self.head(hidden), self._file, isa=self.isa, threads=self.threads)

    def head(self, hidden: np.ndarray) -> np.ndarray:
        """Logits float32 `[n, vocab]` of hidden states float32 `[n, hidden_size]`, to ask for in parts.

        Raises `ArgumentError` for rows of another width.
        """
        rows = np.ascontiguousarray(hidden, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.hidden_size:
            raise ArgumentError(f"Hidden states must have the shape [n, {self.hidden_size}].")
        return self._engine.runner.logits(rows)

    def _encode(self, prompt: Prompt) -> SequenceOf[int] | np.ndarray:
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt

    def _checked(self, token_ids: SequenceOf[int] | np.ndarray, limit: int) -> list[int]:
        if not isinstance(token_ids, (list, tuple, range, np.ndarray)) or not all(map(_is_integer, token_ids)):
            raise ArgumentError("A prompt must be text or a list of token ids.")
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
        stop = params.get("stop") or ()
        try:
            sampling = SamplingParams(**{**params, "stop": (stop,) if isinstance(stop, str) else tuple(stop)})
        except TypeError as error:
            raise ArgumentError(f"These generation options do not fit: {error}.") from None
        ids = self._checked(self._encode(prompt), self.context_length - 1)
        if isinstance(prompt, str) or self.checkpoint.has_tokenizer:
            return Sequence(ids, sampling, self.tokenizer.eos_ids, self.tokenizer.stream(continuation=True))
        return Sequence(ids, sampling, frozenset(), StreamDecoder(lambda token: b""))


def _checkpoint(model: str | Path | Checkpoint | None, i2s_layout: str) -> LoadedCheckpoint:
    if model is None or isinstance(model, Checkpoint):
        if i2s_layout != "x86":
            raise ArgumentError("i2s_layout is for models in GGUF files.")
        return open_checkpoint(EMBEDDED_MODEL).load() if model is None else model.load()
    if not isinstance(model, (str, Path)) or not str(model) or "\0" in str(model):
        raise ArgumentError("A model is the path of a GGUF file or of a folder, or its name on the hub.")
    return open_checkpoint(model, i2s_layout).load()


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_one_prompt(prompts: Any) -> bool:
    """One text or one list of token ids, rather than a list of prompts. Raises `ArgumentError` for anything else."""
    if isinstance(prompts, str):
        return True
    if not isinstance(prompts, (list, tuple, range, np.ndarray)):
        raise ArgumentError("Prompts must be text, a list of token ids, or a list of these.")
    return len(prompts) > 0 and _is_integer(prompts[0])
