"""Compiles grammars for the vocabulary of one model."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, TypeVar

from sterna.engine.grammar.constraint import GrammarConstraint, reason
from sterna.engine.grammar.cost import MAX_ITEMS
from sterna.engine.grammar.grammar import Grammar
from sterna.errors import GrammarError, UnsupportedError
from sterna.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

T = TypeVar("T")

SECONDS = 5.0
"""For which a request waits until its grammar is compiled. Schemas of 50 KB take half a second."""
COMPILERS = 2
"""Grammars that may be compiled at the same time. Those that took too long count, too, for a thread cannot be ended."""
STACK_BYTES = 1 << 28
"""llguidance compiles rules within rules by recursion, and a stack that overflows ends the process. This one has room
for any grammar of the largest size; of its address space only what is used becomes memory."""
MAX_KEPT = 64
"""Compiled grammars that are kept for later requests."""


class Grammars:
    """The compiled grammars of one model. Its vocabulary is read at the first of them (0.4 s for 128k tokens)."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        """`vocab_size`: how many ids the model can choose from, which may be more than the tokenizer has."""
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._lock = threading.Lock()
        self._slots = threading.Semaphore(COMPILERS)
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()

    def compile(self, grammar: Grammar) -> GrammarConstraint:
        """A constraint for one generation.

        Raises `GrammarError`, which names what is not supported, for a grammar that cannot be compiled or takes longer
        than `SECONDS`, and `UnsupportedError` for a vocabulary without a token that ends a text.
        """
        eos_ids = self._tokenizer.eos_ids
        if not eos_ids:
            raise UnsupportedError("No token of this model ends a text, so it cannot follow a grammar.")
        with self._lock:
            matcher = self._compiled.get(grammar.text)
        if matcher is None:
            matcher = self._run(lambda: self._matcher(grammar.text))
        with self._lock:
            self._compiled[grammar.text] = matcher
            self._compiled.move_to_end(grammar.text)
            if len(self._compiled) > MAX_KEPT:
                self._compiled.popitem(last=False)
            return GrammarConstraint(matcher.deep_copy(), self._vocab_size, min(eos_ids))

    def _matcher(self, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        vocabulary = self._read_vocabulary()
        limits = LLParserLimits(verbose_errors=False, step_max_items=MAX_ITEMS)
        refused, messages = LLMatcher.validate_grammar_with_warnings(text, vocabulary, limits=limits)
        if refused or messages:  # a warning is about a check that would be left out
            raise GrammarError(_sentence(" ".join(messages)))
        matcher = LLMatcher(vocabulary, text, log_level=0, limits=limits)
        matcher.compute_bitmask()
        if matcher.is_error():
            raise GrammarError("No text at all can follow this grammar: it never ends.")
        return matcher

    def _read_vocabulary(self) -> LLTokenizer:
        with self._lock:
            if self._vocabulary is None:
                from llguidance import LLTokenizer, TokenizerWrapper

                self._vocabulary = LLTokenizer(
                    TokenizerWrapper(_Vocabulary(self._tokenizer, self._vocab_size)),
                    n_vocab=self._vocab_size,
                    eos_token=sorted(self._tokenizer.eos_ids),
                )
            return self._vocabulary

    def _run(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises, in a thread with a stack of its own size."""
        if not self._slots.acquire(timeout=SECONDS):
            raise GrammarError("Other grammars are being compiled, and take very long; try again later.")
        result: Future[T] = Future()

        def settle() -> None:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)
            finally:
                self._slots.release()

        _start_thread(settle)
        try:
            return result.result(SECONDS)
        except FutureTimeoutError:
            raise GrammarError(f"The grammar takes more than {SECONDS:g} s to compile; make it simpler.") from None


_starting = threading.Lock()


def _start_thread(function: Callable[[], None]) -> None:
    with _starting:
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=function, name="sterna-grammar", daemon=True).start()
        finally:
            threading.stack_size(before)


class _Vocabulary:
    """A tokenizer as llguidance's `TokenizerWrapper` takes it: special tokens begin with a byte that no text has."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        special = tokenizer.special_ids
        pieces = [tokenizer.token_bytes(token) for token in range(min(vocab_size, tokenizer.vocab_size))]
        self.tokens = [b"\xff" + piece if token in special else piece for token, piece in enumerate(pieces)]
        self.tokens += [b"\xff<unused %d>" % token for token in range(len(pieces), vocab_size)]
        self.special_token_ids = [token for token in range(vocab_size) if self.tokens[token][:1] == b"\xff"]
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = tokenizer.bos_id
        self._encode = tokenizer.encode_continuation

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)


_KEYWORDS = re.compile(r"Unimplemented keys: \[(.*)\]")
_FORMAT = re.compile(r"Unknown format: (.*)")


def _sentence(message: str) -> str:
    """An error of llguidance as a sentence that names what is not supported."""
    text = reason(message)
    if found := _KEYWORDS.fullmatch(text):
        return f"The JSON schema uses keywords that are not supported: {found[1]}."
    if found := _FORMAT.fullmatch(text):
        return f"The JSON schema uses the format '{found[1]}', which is not supported."
    return f"The grammar cannot be compiled: {text}."
