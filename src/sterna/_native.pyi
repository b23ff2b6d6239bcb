"""The native engine (native/bindings.cpp). Arrays are C-contiguous; wrong shapes and values raise ValueError."""

from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK_SIZE: int
"""Positions in one KV block."""

def available_isas() -> list[str]:
    """Instruction sets that this build holds and this processor can run, best first."""

def known_answers_hold(isa: str) -> bool:
    """True where the kernels of `isa` give scalar's answers, to the bit, on fixed inputs."""

def formats() -> list[tuple[str, int, int, str]]:
    """The encodings that the kernels know: name, values and bytes of a block, activations (`Encoding`'s columns)."""

def gguf_strings(file: np.ndarray, position: int, count: int) -> list[str]:
    """`count` strings of a GGUF header (uint8 vector of the file) from `position` on; bytes that are no UTF-8 read as
    U+FFFD. Raises ValueError, with the reason, where one does not fit the file."""

def gguf_string_index(file: np.ndarray, position: int, count: int, stride: int) -> tuple[np.ndarray, int]:
    """Where each `stride`-th of `count` strings begins, from the first on (uint64 vector), and the position behind the
    last. Raises as `gguf_strings`."""

def i2s_has_code_3(tensors: Sequence[np.ndarray]) -> list[bool]:
    """For each uint8 vector of packed I2_S codes, whether it holds the code 3, which means nothing."""

def tq_to_i2s(blocks: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of `tq1_0` or `tq2_0` (uint8 vector) as I2_S codes (uint8 vector) and scales (float32 vector): one where
    all blocks that are not zero throughout share it, else one a block."""

def requantize(
    tensor: tuple[str, tuple[int, ...], np.ndarray, float, np.ndarray], encoding: str, isa: str, threads: int
) -> np.ndarray:
    """The bytes (uint8 vector) of a matrix (encoding, shape, uint8 vector, scale, block scales) in q4_0, q8_0 or q6_k,
    row by row."""

def read_bandwidth(isa: str, bytes: int, threads: int) -> float:
    """Bytes a second that `threads` threads read together from a buffer of `bytes` bytes."""

def multiply_add_rate(isa: str, threads: int) -> float:
    """int8 multiply-adds a second that `threads` threads do together, on registers."""

class Sampling:
    """How one token is chosen; `step` counts the tokens chosen before, `penalized` are ids to repeat less."""

    def __init__(
        self,
        temperature: float,
        top_k: int,
        top_p: float,
        min_p: float,
        repetition_penalty: float,
        seed: int,
        step: int,
        penalized: list[int],
    ) -> None: ...

class KvPool:
    """Blocks of keys and values in `f16` or `int8`; memory is taken when a block is first written."""

    def __init__(self, layers: int, kv_heads: int, head_dim: int, blocks: int, type: str) -> None: ...
    @property
    def blocks(self) -> int: ...
    @property
    def block_bytes(self) -> int: ...

class Model:
    """A compiled plan. `tensors` maps names to (encoding, shape, uint8 vector, scale); the arrays are kept alive."""

    def __init__(self, plan: dict[str, Any], tensors: dict[str, Any], isa: str) -> None: ...
    def forward(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        cu_seqlens: np.ndarray,
        block_tables: np.ndarray,
        output_rows: np.ndarray,
        pool: KvPool,
        threads: int,
    ) -> np.ndarray:
        """int32 arrays in, hidden rows float32 `[len(output_rows), hidden_size]` out."""

    def logits(self, hidden: np.ndarray, threads: int) -> np.ndarray:
        """float32 `[n, hidden_size]` to float32 `[n, vocab]`."""

    def select(self, hidden: np.ndarray, samplings: list[Sampling], threads: int) -> np.ndarray:
        """float32 `[n, hidden_size]` to token ids int32 `[n]`."""

    @property
    def hidden_size(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
