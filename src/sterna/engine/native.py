"""The CPU's engine as a backend: a compiled plan with the weights of one checkpoint, and its KV pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from sterna import _native
from sterna.engine.backend import NO_ADAPTER, CachePool, Choice, Mix, RowSampling, Span, StatePool
from sterna.engine.machine import available_memory
from sterna.errors import FormatError, UnsupportedError
from sterna.model.operations import Linear
from sterna.model.plan import Plan
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import mapping, release
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import untiled
from sterna.ternary.i2s import pack_i2s, unpack_i2s

if TYPE_CHECKING:
    from sterna.checkpoint.adapters import LowRank

HEAD = "output.weight"
"""The name of the head's update, whatever the head's own tensor is called."""

CODES_PER_BLOCK = 128
"""Columns in one block of I2_S; in the engine, every row begins with a block of its own."""

STATE_SLOTS = 64
"""The most slots of a state pool: so many sequences run together, less those slots that keep the states of prefixes."""

KEPT_BYTES, LEAST_KEPT = 1 << 30, 4
"""Slots that no sequence uses keep the states of known prefixes: as many as this memory holds, and no fewer."""

ALIGNMENT = 4
"""Alignment in bytes of the arrays from which the kernels read float32 and float16 numbers."""

SETTLING_AT_LOAD = 0.05
"""Seconds for which weights are copied and repacked at load, while the vocabulary is read; the rest is left to the time
between passes. All of a model of 2B parameters takes 0.1 to 0.2 s, but 1 s in a virtual machine that has given its free
memory back to the host, and the first token does not wait for that."""

MARGIN = 1 << 28
"""Bytes that a copy of the weights leaves free, for keys and values and for other processes."""


class NativeBackend:
    """Implements `Backend`; hidden rows are numpy arrays. Raises `FormatError` where the weights do not fit the plan,
    `UnsupportedError` where the KV cache cannot be allocated."""

    block_size = _native.BLOCK_SIZE

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
        mmap: bool | None = None,
    ) -> None:
        self.isa = isa
        self.threads = threads
        self.profile: _native.Profile | None = None
        self._model = load_model(plan, tensors, isa, threads, mmap)
        self._head = plan.head.weight
        self._pools = make_pools(plan, blocks, least_blocks, kv)
        windows = [group.window for group in plan.caches.values()]
        self._states = make_state_pools(plan, max(min(blocks, STATE_SLOTS), LEAST_KEPT))
        self.pools: list[CachePool | StatePool] = [
            *(CachePool(pool.blocks, window) for pool, window in zip(self._pools, windows, strict=True)),
            *(StatePool(pool.slots, max(KEPT_BYTES // pool.slot_bytes, LEAST_KEPT)) for pool in self._states),
        ]

    @property
    def block_bytes(self) -> list[int]:
        """Bytes of one block or slot of each of `pools`."""
        return [*(pool.block_bytes for pool in self._pools), *(state.slot_bytes for state in self._states)]

    def copy(self, pool: int, source: int, target: int) -> None:
        self._pools[pool].copy(source, target)

    def forward(self, spans: Sequence[Span]) -> np.ndarray:
        tokens: list[int] = []
        positions: list[int] = []
        outputs: list[int] = []
        ends = [0]
        for span in spans:
            end = ends[-1] + len(span.token_ids)
            tokens.extend(span.token_ids)
            positions.extend(range(span.start, span.start + len(span.token_ids)))
            outputs.extend(range(end - span.outputs, end))
            ends.append(end)
        tables = [_rectangle([span.block_tables[group] for span in spans]) for group in range(len(self.pools))]
        hidden: np.ndarray = self._threaded(
            self._model.forward,
            np.array(tokens, np.int32),
            np.array(positions, np.int32),
            np.array(ends, np.int32),
            tables[: len(self._pools)],
            tables[len(self._pools) :],
            *_mixes([span.mix for span in spans]),
            np.array(outputs, np.int32),
            self._pools,
            self._states,
        )
        return hidden

    def finite(self, hidden: np.ndarray) -> np.ndarray:
        finite: np.ndarray = np.isfinite(hidden).all(axis=1)
        return finite

    def select(
        self, hidden: np.ndarray, rows: Sequence[int], samplings: Sequence[RowSampling], mixes: Sequence[Mix]
    ) -> list[Choice]:
        wanted = hidden if len(rows) == len(hidden) else hidden[list(rows)]
        chosen = self._threaded(self._model.select, wanted, [_sampling(row) for row in samplings], *_mixes(mixes))
        return _choices(*chosen)

    def score(self, hidden: np.ndarray, rows: Sequence[int], targets: np.ndarray, mixes: Sequence[Mix]) -> np.ndarray:
        wanted = hidden if len(rows) == len(hidden) else hidden[list(rows)]
        scores: np.ndarray = self._threaded(self._model.score, wanted, targets, *_mixes(mixes))
        return scores

    def to_numpy(self, hidden: np.ndarray, first: int, last: int) -> np.ndarray:
        return hidden[first:last]

    def logits(self, rows: np.ndarray, mix: Mix = NO_ADAPTER) -> np.ndarray:
        logits: np.ndarray = self._threaded(self._model.logits, rows, *_mixes([mix] * len(rows)))
        return logits

    def load_adapter(self, updates: Mapping[str, LowRank]) -> _native.Adapter:
        try:
            return self._model.adapter(
                {
                    self._head if name == HEAD else name: (_rows(low.a), _rows(low.b), low.scale)
                    for name, low in updates.items()
                }
            )
        except MemoryError:
            raise UnsupportedError("The system refuses the memory for an adapter.") from None
        except ValueError as error:
            raise FormatError(str(error)) from None

    def settle(self) -> None:
        """Copies and repacks weights to the end, which otherwise goes on between the first passes."""
        self._model.settle(self.threads)

    def _threaded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments, self.threads, self.profile)
        except RuntimeError as error:  # std::system_error of a thread that could not be created
            raise UnsupportedError(f"The system refuses {self.threads} threads ({error}); ask for fewer.") from None


def load_model(plan: Plan, tensors: Mapping[str, Tensor], isa: str, threads: int, mmap: bool | None) -> _native.Model:
    """The native model. `mmap`: whether matrices stay in their mapped file where kernels take them as they lie there;
    None decides by `has_room`, and by whether the system gives the memory. Raises as `NativeBackend`."""
    in_place = not has_room(plan, tensors) if mmap is None else mmap
    natives = native_tensors([tensors[name] for name in sorted(plan.weights())], threads, drop=not in_place)
    try:
        try:
            return _native.Model(plan.to_dict(), natives, isa, threads, in_place, SETTLING_AT_LOAD)
        except MemoryError:
            if mmap is not None or in_place:
                raise
            return _native.Model(plan.to_dict(), natives, isa, threads, True)
    except MemoryError:
        raise UnsupportedError("The system refuses the memory for the weights; a smaller model may fit.") from None
    except ValueError as error:
        raise FormatError(str(error)) from None


def has_room(plan: Plan, tensors: Mapping[str, Tensor]) -> bool:
    """Whether available memory holds a copy of all matrices that are multiplied, and a quarter and 256 MiB more."""
    multiplied = {op.weight for op in plan.operations if isinstance(op, Linear)} | {plan.head.weight}
    size = sum(tensors[name].data.nbytes for name in multiplied)
    available = available_memory()
    return available is None or size + size // 4 + MARGIN <= available


def choose(logits: np.ndarray, samplings: Sequence[RowSampling]) -> list[Choice]:
    """A choice for each row of logits float32 [n, vocab_size] that another backend has computed."""
    return _choices(*_native.choose(logits, [_sampling(row) for row in samplings]))


def _choices(tokens: np.ndarray, logprobs: np.ndarray, top: list[list[tuple[int, float]]]) -> list[Choice]:
    return [Choice(*choice) for choice in zip(tokens.tolist(), logprobs.tolist(), top, strict=True)]


def _rectangle(tables: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of different lengths as int32 [n, longest], filled up with -1."""
    rectangle = np.full((len(tables), max(map(len, tables))), -1, np.int32)
    for row, table in zip(rectangle, tables, strict=True):
        row[: len(table)] = table
    return rectangle


def _mixes(mixes: Sequence[Mix]) -> tuple[np.ndarray, list[list[tuple[_native.Adapter, float]]]]:
    """Which of several mixes each row or sequence has, counted from 1 (int32 [n]; 0: none), and these mixes."""
    numbers = {mix: number for number, mix in enumerate(dict.fromkeys(mix for mix in mixes if mix.parts), 1)}
    ids = np.array([numbers.get(mix, 0) for mix in mixes], np.int32)
    return ids, [[(adapter.handle, scale) for adapter, scale in mix.parts] for mix in numbers]


def _rows(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)


def _sampling(row: RowSampling) -> _native.Sampling:
    params, sampling = row.params, _native.Sampling()
    sampling.temperature = params.temperature
    sampling.top_k = params.top_k
    sampling.top_p = params.top_p
    sampling.min_p = params.min_p
    sampling.repetition_penalty = params.repetition_penalty
    sampling.presence_penalty = params.presence_penalty
    sampling.frequency_penalty = params.frequency_penalty
    sampling.seed, sampling.step = row.seed, row.step
    sampling.seen, sampling.generated, sampling.banned = list(row.seen), list(row.generated), list(row.banned)
    sampling.logit_bias = [(int(token), float(bias)) for token, bias in params.logit_bias.items()]
    sampling.logprobs = -1 if params.logprobs is None else params.logprobs
    if row.mask is not None:
        sampling.set_mask(row.mask)
    return sampling


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


def make_state_pools(plan: Plan, slots: int) -> list[_native.StatePool]:
    """A pool of `slots` slots for each state group."""
    try:
        return [_native.StatePool(asdict(group), slots) for group in plan.states.values()]
    except (MemoryError, ValueError):
        raise UnsupportedError(f"The system refuses the address space of {slots} states of the model.") from None


NativeTensor = tuple[str, tuple[int, ...], np.ndarray, float, np.ndarray, bool]
"""Encoding, shape, bytes, scale, scales of groups of columns (empty for none), and whether the bytes lie in a mapped
file whose pages the engine drops after it has read them."""

ONE_SCALE = np.empty(0, np.float32)


def native_tensors(tensors: Sequence[Tensor], threads: int, *, drop: bool = False) -> dict[str, NativeTensor]:
    """Tensors by name as the native engine takes them: the mapped bytes, without a copy, wherever that is possible.

    Bytes that are not aligned (`ALIGNMENT`) are copied. Ternary rows that do not fill whole blocks are packed again,
    each padded with zeros; the code 3, which has no meaning, becomes 0. TL1 and TL2 become I2_S. So do TQ1_0 and TQ2_0,
    with the scales of their blocks in an array where they are not all equal. `drop`: pages of a mapped file are dropped
    after they were looked at, and by the engine after it has read them.
    """
    ternary = [tensor for tensor in tensors if tensor.encoding is Encoding.I2_S]
    # One call for all: a thread that returns from native code may wait milliseconds for the GIL.
    has_code_3 = _native.i2s_has_code_3([tensor.data for tensor in ternary])
    unclean = {tensor.name for tensor, found in zip(ternary, has_code_3, strict=True) if found}

    def made(tensor: Tensor) -> NativeTensor:
        native = _native_tensor(tensor, tensor.name in unclean, drop)
        if drop:
            release(tensor.data)
        return native

    with ThreadPoolExecutor(threads) as executor:  # packing releases the GIL
        return {tensor.name: native for tensor, native in zip(tensors, executor.map(made, tensors), strict=True)}


def _native_tensor(tensor: Tensor, has_code_3: bool, drop: bool) -> NativeTensor:
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
    return tensor.encoding.value, tensor.shape, data, tensor.scale, ONE_SCALE, drop and mapping(data) is not None


def _native_tq(tensor: Tensor) -> NativeTensor:
    codes, scales = _native.tq_to_i2s(tensor.data, tensor.encoding.value)
    scales *= np.float32(tensor.scale)
    if not np.isfinite(scales).all():
        raise FormatError(f"The tensor {tensor.name!r} has a block whose scale is not finite.")
    i2_s = Encoding.I2_S.value
    if scales.size == 1:
        return i2_s, tensor.shape, codes, float(scales[0]), ONE_SCALE, False
    return i2_s, tensor.shape, codes, 1.0, scales, False
