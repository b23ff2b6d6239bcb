"""The native engine with the weights of one checkpoint: batches of tokens in, hidden rows, logits or tokens out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from sterna import _native
from sterna.errors import FormatError, UnsupportedError
from sterna.model.plan import Plan
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import untiled
from sterna.ternary.i2s import pack_i2s, unpack_i2s

CODES_PER_BLOCK = 128
"""Columns in one block of I2_S; the engine's rows begin at a block."""

ALIGNMENT = 4
"""Bytes; what the kernels' whole floats and halfs need."""


@dataclass(frozen=True)
class Span:
    """Some consecutive tokens of one sequence, as a forward pass takes them."""

    token_ids: Sequence[int]
    start: int
    """Position of the first of them in the sequence."""
    blocks: Sequence[int]
    """The sequence's KV blocks, for positions 0 to the last one here."""
    outputs: int = 1
    """How many of the last tokens' hidden rows are wanted."""


class Runner:
    """One compiled plan and its KV pool. Raises `FormatError` where the weights do not fit the plan,
    `UnsupportedError` where the KV cache cannot be had."""

    def __init__(
        self,
        plan: Plan,
        tensors: Mapping[str, Tensor],
        *,
        isa: str,
        threads: int,
        blocks: int,
        least_blocks: int = 1,
        kv: str = "f16",
    ) -> None:
        self.isa = isa
        self.threads = threads
        natives = native_tensors([tensors[name] for name in sorted(plan.weights())], threads)
        try:
            self._model = _native.Model(plan.to_dict(), natives, isa)
        except ValueError as error:
            raise FormatError(str(error)) from None
        self.pools = make_pools(plan, blocks, least_blocks, kv)

    def forward(self, spans: Sequence[Span]) -> np.ndarray:
        """Hidden rows float32 `[n_outputs, hidden_size]`, in the order of the spans.

        Raises `FormatError` where they are not finite: no choice of a token could be made from them.
        """
        lengths = [len(span.token_ids) for span in spans]
        ends = np.cumsum(lengths)
        width = max(len(span.blocks) for span in spans)
        tables = np.full((len(spans), width), -1, np.int32)
        for row, span in zip(tables, spans, strict=True):
            row[: len(span.blocks)] = span.blocks
        outputs: list[int] = []
        for span, end in zip(spans, ends, strict=True):
            outputs.extend(range(end - span.outputs, end))
        arrays = (
            np.concatenate([np.asarray(span.token_ids, np.int32) for span in spans]),
            np.concatenate(
                [np.arange(span.start, span.start + n, dtype=np.int32) for span, n in zip(spans, lengths, strict=True)]
            ),
            np.concatenate([[0], ends]).astype(np.int32),
            [tables] * len(self.pools),
            np.zeros(len(spans), np.int32),
            np.asarray(outputs, np.int32),
        )
        hidden = self._threaded(self._model.forward, *arrays, self.pools)
        if not np.isfinite(hidden).all():
            raise FormatError("The model computes numbers that are not finite: its file is damaged.")
        return hidden

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Logits float32 `[n, vocab]` of hidden rows float32 `[n, hidden_size]`."""
        return self._threaded(self._model.logits, hidden)

    def select(self, hidden: np.ndarray, samplings: list[_native.Sampling]) -> np.ndarray:
        """One token id (int32 `[n]`) for each hidden row."""
        tokens: np.ndarray = self._threaded(self._model.select, hidden, samplings)[0]
        return tokens

    def _threaded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments, self.threads)
        except RuntimeError as error:  # std::system_error of a thread that could not be made
            raise UnsupportedError(f"The system refuses {self.threads} threads ({error}); ask for fewer.") from None


def make_pools(plan: Plan, blocks: int, least_blocks: int, kv: str) -> list[_native.KvPool]:
    """A KV pool for each cache group, of `blocks` blocks of type `kv`, or of fewer, down to `least_blocks`, where
    address space is scarce."""
    while True:
        try:
            return [
                _native.KvPool(group.layers, group.kv_heads, group.head_dim, blocks, kv)
                for group in plan.caches.values()
            ]
        except (MemoryError, ValueError):
            if blocks == least_blocks:
                raise UnsupportedError(
                    f"The system refuses the address space of a KV cache of {blocks * _native.BLOCK_SIZE} positions; "
                    "ask for a smaller context."
                ) from None
            blocks = max(blocks // 2, least_blocks)


NativeTensor = tuple[str, tuple[int, ...], np.ndarray, float, np.ndarray]
"""Encoding, shape, bytes, scale, and scales of groups of columns (empty for none)."""

ONE_SCALE = np.empty(0, np.float32)


def native_tensors(tensors: Sequence[Tensor], threads: int) -> dict[str, NativeTensor]:
    """Tensors by name as the native engine takes them: the mapped bytes themselves wherever they can serve as they are.

    Bytes that a file has put at an odd place are copied. Ternary rows that do not fill whole blocks are packed again,
    each padded with zeros; the code 3, which means nothing, becomes 0. TQ1_0 and TQ2_0 become I2_S, with the scales of
    their blocks beside it where they are not all the same; TL1 and TL2 become I2_S, too.
    """
    ternary = [tensor for tensor in tensors if tensor.encoding is Encoding.I2_S]
    has_code_3 = _native.i2s_has_code_3([tensor.data for tensor in ternary])
    unclean = {tensor.name for tensor, found in zip(ternary, has_code_3, strict=True) if found}
    with ThreadPoolExecutor(threads) as executor:  # what is packed again leaves the GIL
        natives = executor.map(lambda tensor: _native_tensor(tensor, tensor.name in unclean), tensors)
        return {tensor.name: native for tensor, native in zip(tensors, natives, strict=True)}


def _native_tensor(tensor: Tensor, has_code_3: bool) -> NativeTensor:
    if tensor.encoding in (Encoding.TQ1_0, Encoding.TQ2_0):
        return _native_tq(tensor)
    tensor = untiled(tensor)
    data = tensor.data
    if tensor.encoding is Encoding.I2_S:
        ragged = tensor.shape[-1] % CODES_PER_BLOCK
        if ragged or has_code_3:
            codes = unpack_i2s(data, tensor.shape)
            if ragged:
                codes = np.pad(codes, ((0, 0), (0, CODES_PER_BLOCK - ragged)))
            data = pack_i2s(codes)
    if data.ctypes.data % ALIGNMENT:
        data = data.copy()
    return tensor.encoding.value, tensor.shape, data, tensor.scale, ONE_SCALE


def _native_tq(tensor: Tensor) -> NativeTensor:
    codes, scales = _native.tq_to_i2s(tensor.data, tensor.encoding.value)
    scales *= np.float32(tensor.scale)
    if not np.isfinite(scales).all():
        raise FormatError(f"The tensor {tensor.name!r} has a block whose scale is not finite.")
    i2_s = Encoding.I2_S.value
    if scales.size == 1:
        return i2_s, tensor.shape, codes, float(scales[0]), ONE_SCALE
    return i2_s, tensor.shape, codes, 1.0, scales
