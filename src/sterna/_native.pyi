"""The native engine (native/bindings.cpp). Arrays are C-contiguous; wrong shapes and values raise ValueError."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK_SIZE: int
"""Positions in one KV block."""

def performance_cores() -> int:
    """Processors of the fastest kind, where the system tells kinds apart; 0 where it does not."""

def processor_name() -> str:
    """The processor's name; empty on Linux, where files of the system tell it."""

def available_memory() -> int:
    """Bytes that can be taken without swapping; 0 on Linux, where files of the system tell it."""

def peak_memory() -> int:
    """The most bytes of memory that this process has had; 0 on Linux, where files of the system tell it."""

def available_isas() -> list[str]:
    """Instruction sets that this build holds and this processor can run, best first."""

def known_answers_hold(isa: str) -> bool:
    """Whether the kernels of `isa` give the same bits as the scalar ones on fixed inputs."""

def formats() -> list[tuple[str, int, int, str]]:
    """The encodings that the kernels know: name, values and bytes of a block, activations (`Encoding`'s columns)."""

def gguf_strings(file: np.ndarray, position: int, count: int) -> list[str]:
    """`count` strings of a GGUF header (uint8 vector of the file) from `position` on; bytes that are not UTF-8 are
    read as U+FFFD. Raises ValueError, with the reason, where a string does not fit the file."""

def gguf_string_index(file: np.ndarray, position: int, count: int, stride: int) -> tuple[np.ndarray, int]:
    """Where the first of `count` strings and every `stride`-th after it begin (uint64 vector), and the position after
    the last. Raises as `gguf_strings` does."""

def i2s_has_code_3(tensors: Sequence[np.ndarray]) -> list[bool]:
    """For each uint8 vector of packed I2_S codes, whether it holds the code 3, which has no meaning."""

def tq_to_i2s(blocks: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of `tq1_0` or `tq2_0` (uint8 vector) as I2_S codes (uint8 vector) and scales (float32 vector): one if
    all blocks that are not entirely zero share it, else one for each block."""

def requantize(
    tensor: tuple[str, tuple[int, ...], np.ndarray, float, np.ndarray, bool], encoding: str, isa: str, threads: int
) -> np.ndarray:
    """The bytes (uint8 vector) of a matrix (encoding, shape, uint8 vector, scale, block scales, read once) in
    q4_0, q8_0 or q6_k, row by row."""

def read_bandwidth(isa: str, bytes: int, threads: int) -> float:
    """Bytes a second that `threads` threads together read from a buffer of `bytes` bytes."""

def multiply_add_rate(isa: str, threads: int) -> float:
    """int8 multiply-adds a second that `threads` threads together compute on registers."""

def line_latency() -> float:
    """Nanoseconds that a cache line takes from one thread to another."""

class Profile:
    """What the calls of a model that are given it did, and where their time went."""

    def __init__(self) -> None: ...
    @property
    def passes(self) -> list[tuple[int, int, dict[str, float]]]:
        """For each pass, from one forward pass to the next: its tokens, its sequences, and its seconds by part.

        They are averages over the threads, and add up to the time from the end of the pass before it to its own. Beside
        the parts of the steps (`matrices`, `norm`, `quantize`, `attention`, ...), `head` and `choice` there are
        `barriers`, in which threads wait for each other, `setup`, in which one thread prepares what all will do, and
        `python`, the time between two calls."""

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the layers' matrices, as they lie in memory."""

    @property
    def head_bytes(self) -> int: ...
    @property
    def multiply_adds(self) -> int:
        """Of the layers' matrices, for each token."""

class Sampling:
    """How one token is chosen: `SamplingParams`, and the state of the sequence. `step`: how many tokens were chosen
    before. `seen`: ids of prompt and text. `generated`: ids of the text, each as often as it occurs. `banned`: ids that
    are never chosen. `logprobs`: how many of the most likely ids to report; -1 reports no log-probability."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    step: int
    seen: list[int]
    generated: list[int]
    logit_bias: list[tuple[int, float]]
    banned: list[int]
    logprobs: int
    def __init__(self) -> None: ...
    def set_mask(self, mask: np.ndarray) -> None:
        """Bit i % 32 of word i / 32 (uint32 vector) says whether id i may be chosen."""

def choose(
    logits: np.ndarray, samplings: Sequence[Sampling]
) -> tuple[np.ndarray, np.ndarray, list[list[tuple[int, float]]]]:
    """What `Model.select` gives, from logits float32 `[n, vocab_size]` that another engine has computed."""

class KvPool:
    """Blocks of keys and values in `f16`, `int8` or `f32`; memory is taken when a block is first written."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, blocks: int, type: str) -> None: ...
    @property
    def blocks(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...
    def copy(self, source: int, target: int) -> None:
        """Copies all of a block. Not beside a pass that uses either."""

class StatePool:
    """Slots for the states of sequences in the layers of one state group (`shape`: a `StateGroup` as a dict); memory is
    taken when a slot is first written."""

    def __init__(self, shape: dict[str, int], slots: int) -> None: ...
    @property
    def slots(self) -> int: ...
    @property
    def slot_bytes(self) -> int: ...

class Adapter:
    """Low-rank updates of a model's matrices, for its passes alone."""

class Matrix:
    """A stored matrix `[out, in]` outside any plan: `tensor` is (encoding, shape, uint8 vector, scale, group scales,
    read once); `activations` and `group_size` are those of `sterna.model.operations.Linear`."""

    def __init__(
        self,
        tensor: tuple[str, tuple[int, ...], np.ndarray, float, np.ndarray, bool],
        activations: str,
        group_size: int,
        isa: str,
    ) -> None: ...
    def multiply(self, x: np.ndarray, threads: int) -> np.ndarray:
        """W x, float32 `[n, out]`, for rows x float32 `[n, in]`. They are quantised first, with the bits of a pass; on
        AMX, 16 rows or more that a pass would quantise to int15 are multiplied as halves of bfloat16 instead."""

    def multiply_adapted(
        self, x: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float, threads: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """x float32 [n, in], a [rank, in], b [out, rank] -> (W x + B h, h = scale * A x), float32 [n, out] and
        [n, rank]; None where the two are not multiplied together."""
    def multiply_adapted_transposed(
        self, g: np.ndarray, a: np.ndarray, b: np.ndarray, scale: float, threads: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """g float32 [n, out] -> (Wᵀ g + Aᵀ h, h = scale * Bᵀ g), float32 [n, in] and [n, rank]; None likewise."""
    def multiply_transposed(self, g: np.ndarray, threads: int) -> np.ndarray:
        """W^T g, float32 `[n, in]`, for rows g float32 `[n, out]`: in integers where W is ternary with one scale, as
        halves of bfloat16 for 16 rows or more on AMX, else in float32, the terms added in order."""

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Rows of int32 ids `[n]`, float32 `[n, in]`."""

class Model:
    """A compiled plan. `tensors` maps names to (encoding, shape, uint8 vector, scale, group scales, read once).

    Matrices are repacked or, where the vector lies in a mapped file and is to be read once, copied, and the file's
    pages dropped: for `settle_s` seconds here, then between passes. `in_place` repacks only what cannot be multiplied
    as it lies. Vectors are kept alive as long as they are read. Raises MemoryError where there is no room."""

    def __init__(
        self,
        plan: dict[str, Any],
        tensors: dict[str, Any],
        isa: str,
        threads: int,
        in_place: bool,
        settle_s: float = 0.0,
    ) -> None: ...
    def settle(self, threads: int) -> None:
        """Copies and repacks at once what was left for later."""

    @property
    def settled(self) -> bool:
        """Whether nothing is left for later."""

    def forward(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        cu_seqlens: np.ndarray,
        block_tables: Sequence[np.ndarray],
        state_tables: Sequence[np.ndarray],
        adapter_ids: np.ndarray,
        mixes: Sequence[Sequence[tuple[Adapter, float]]],
        output_rows: np.ndarray,
        pools: Sequence[KvPool],
        states: Sequence[StatePool],
        threads: int,
        profile: Profile | None = None,
    ) -> np.ndarray:
        """Hidden rows float32 `[n_outputs, hidden_size]`. Takes int32 vectors, and a table `[n_seqs, width]` of
        blocks or slots for each cache group and each state group, in the order of the plan. `adapter_ids`: for each
        sequence 0, or the number of its mix of adapters with scales, counted from 1. Begins a pass of the profile."""

    def adapter(self, updates: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> Adapter:
        """An adapter of (A float32 `[rank, in]`, B float32 `[out, rank]`, factor) by the names of the plan's matrices.
        A and B are kept in float16."""

    def logits(
        self,
        hidden: np.ndarray,
        adapter_ids: np.ndarray,
        mixes: Sequence[Sequence[tuple[Adapter, float]]],
        threads: int,
        profile: Profile | None = None,
    ) -> np.ndarray:
        """Logits float32 `[n, vocab_size]` of hidden rows float32 `[n, hidden_size]`; `adapter_ids` of the rows."""

    def select(
        self,
        hidden: np.ndarray,
        samplings: Sequence[Sampling],
        adapter_ids: np.ndarray,
        mixes: Sequence[Sequence[tuple[Adapter, float]]],
        threads: int,
        profile: Profile | None = None,
    ) -> tuple[np.ndarray, np.ndarray, list[list[tuple[int, float]]]]:
        """For each hidden row: the chosen id (int32; -1 where none may be chosen), its log-probability (float32), and
        the most likely ids with theirs, where the sampling asks for them."""

    def score(
        self,
        hidden: np.ndarray,
        ids: np.ndarray,
        adapter_ids: np.ndarray,
        mixes: Sequence[Sequence[tuple[Adapter, float]]],
        threads: int,
        profile: Profile | None = None,
    ) -> np.ndarray:
        """For each hidden row float32 `[n, hidden_size]` and id (int32 vector), float32 `[n, 2]`: the id's
        log-probability in nats, and 1 where it is the most likely id (the lowest of equals), else 0."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
