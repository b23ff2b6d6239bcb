"""A GPU as a backend of the engine: the steps of a plan by Triton's kernels, its KV pools and its head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from sterna.engine.backend import NO_ADAPTER, CachePool, Choice, Mix, RowSampling, Span, StatePool
from sterna.engine.native import HEAD, choose
from sterna.errors import UnsupportedError
from sterna.gpu import adapters
from sterna.gpu.cache import Pool, block_bytes
from sterna.gpu.device import describe, free_memory, open_device
from sterna.gpu.frame import BLOCK, Frame
from sterna.gpu.fuse import fuse
from sterna.gpu.graphs import Graphs, padded
from sterna.gpu.layouts import layout_of
from sterna.gpu.parameters import Parameters
from sterna.gpu.runner import Runner
from sterna.model.operations import Linear
from sterna.model.plan import Plan
from sterna.tensor.tensor import Tensor

if TYPE_CHECKING:
    from sterna.checkpoint.adapters import LowRank

SHARE = 0.9
"""Of the memory that is free after the weights are loaded, the share that keys and values may take."""
ROWS = 128
"""Rows of logits that are computed at a time where any number is asked for: thousands would be gigabytes."""


class GpuBackend:
    """Implements `Backend`; hidden rows are tensors on the device. Raises `UnsupportedError` where there is no such
    GPU, where no kernel computes the plan, and where the memory of the GPU is too small."""

    block_size = BLOCK

    def __init__(
        self,
        plan: Plan,
        tensors: Mapping[str, Tensor],
        *,
        number: int = 0,
        blocks: int,
        least_blocks: int = 1,
        kv: str = "f16",
    ) -> None:
        if plan.states:
            raise UnsupportedError("The GPU's engine runs no models with delta rules; use the device cpu.")
        self.device = open_device(number)
        self.name = describe(self.device)
        self._plan = plan
        activations = {str(op.weight): op.activations for op in plan.operations if isinstance(op, Linear)}
        self._program = fuse(plan, lambda name: layout_of(tensors[name], activations[name]))
        self._pools: dict[str, Pool] = {}
        self._adapters = adapters.Present(self.device)
        with self._computing():
            self._frame = Frame(plan, self.device)
            parameters = Parameters(plan, tensors, self.device)
            parameters.load((*self._program.steps, self._program.head))
            # Nothing here refers back to this object, so that its memory is free with the last reference to it.
            self._runner = Runner(plan, parameters, self._frame, self._pools, self.device, self._adapters.add)
            self._run = partial(self._runner.run, self._program.steps)
            self._pools |= self._make_pools(blocks, least_blocks, kv)
        self.block_bytes = [block_bytes(group, kv) for group in plan.caches.values()]
        self.pools: list[CachePool | StatePool] = [
            CachePool(pool.blocks, group.window)
            for pool, group in zip(self._pools.values(), plan.caches.values(), strict=True)
        ]
        self._graphs = Graphs(self._run) if self.device.type == "cuda" else None

    def settle(self) -> None:
        """Waits for what the GPU still does."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def copy(self, pool: int, source: int, target: int) -> None:
        with self._computing():
            list(self._pools.values())[pool].copy(source, target)

    def forward(self, spans: Sequence[Span]) -> torch.Tensor:
        lengths = [len(span.token_ids) for span in spans]
        tokens, ends = sum(lengths), np.cumsum(lengths)
        with self._computing():
            graphs = None if any(span.mix.parts for span in spans) else self._graphs
            size = tokens if graphs is None else padded(tokens)
            width = max((len(table) for span in spans for table in span.block_tables), default=1)
            self._frame.reserve(size, width)
            inputs = np.zeros((3, size), np.int32)
            inputs[1, tokens:] = -1
            inputs[0, :tokens] = [token for span in spans for token in span.token_ids]
            inputs[1, :tokens] = np.concatenate([span.start + np.arange(len(span.token_ids)) for span in spans])
            inputs[2, :tokens] = np.repeat(np.arange(len(spans)), lengths)
            tables = [_rectangle([span.block_tables[group] for span in spans]) for group in range(len(self._pools))]
            self._frame.write(inputs, tables)
            self._adapters.take([span.mix for span in spans], lengths)
            if graphs is None:
                self._run(tokens)
            else:
                graphs.run(size, self._frame.serial)
            outputs = [row for span, end in zip(spans, ends, strict=True) for row in range(end - span.outputs, end)]
            return self._frame.view(self._plan.output).rows[torch.tensor(outputs, device=self.device, dtype=torch.long)]

    def finite(self, hidden: torch.Tensor) -> np.ndarray:
        with self._computing():
            finite: np.ndarray = torch.isfinite(hidden).all(dim=1).cpu().numpy()
        return finite

    def select(
        self, hidden: torch.Tensor, rows: Sequence[int], samplings: Sequence[RowSampling], mixes: Sequence[Mix]
    ) -> list[Choice]:
        with self._computing():
            logits = self._logits(hidden, rows, mixes)
            if all(_is_greedy(sampling) for sampling in samplings):
                return [Choice(token) for token in _lowest_best(logits).tolist()]
            on_cpu = logits.cpu().numpy()
        return choose(on_cpu, samplings)

    def score(self, hidden: torch.Tensor, rows: Sequence[int], targets: np.ndarray, mixes: Sequence[Mix]) -> np.ndarray:
        with self._computing():
            logits = self._logits(hidden, rows, mixes)
            ids = torch.from_numpy(targets.astype(np.int64)).to(self.device)
            logprobs = logits.double().log_softmax(dim=1).gather(1, ids[:, None])[:, 0]
            is_best = _lowest_best(logits) == ids
            scores: np.ndarray = torch.stack([logprobs.float(), is_best.float()], dim=1).cpu().numpy()
        return scores

    def to_numpy(self, hidden: torch.Tensor, first: int, last: int) -> np.ndarray:
        rows: np.ndarray = hidden[first:last].cpu().numpy()
        return rows

    def logits(self, rows: np.ndarray, mix: Mix = NO_ADAPTER) -> np.ndarray:
        logits = np.empty((len(rows), self._plan.vocab_size), np.float32)
        for first in range(0, len(rows), ROWS):
            hidden = torch.from_numpy(rows[first : first + ROWS]).to(self.device)
            part = self._logits(hidden, range(len(hidden)), [mix] * len(hidden))
            logits[first : first + ROWS] = part.cpu().numpy()
        return logits

    def load_adapter(self, updates: Mapping[str, LowRank]) -> adapters.Handle:
        with self._computing():
            return adapters.load(updates, {HEAD: self._plan.head.weight}, self.device)

    def _logits(self, hidden: torch.Tensor, rows: Sequence[int], mixes: Sequence[Mix]) -> torch.Tensor:
        """Logits float32 [n, vocab_size] of some of the hidden rows."""
        with self._computing():
            wanted = hidden[torch.tensor(list(rows), device=self.device, dtype=torch.long)].contiguous()
            self._adapters.take(mixes, [1] * len(mixes))
            return self._runner.head(self._program.head, wanted)

    def _make_pools(self, blocks: int, least_blocks: int, kv: str) -> dict[str, Pool]:
        """The pools of the plan's cache groups: of `blocks` blocks, or of as many as there is memory for."""
        room = free_memory(self.device)
        if room is not None:
            each = sum(block_bytes(group, kv) for group in self._plan.caches.values())
            blocks = max(least_blocks, min(blocks, int(room * SHARE) // max(each, 1)))
        return {name: Pool(group, blocks, kv, self.device) for name, group in self._plan.caches.items()}

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """What is done inside needs no gradients, is for this GPU, and may lack memory."""
        try:
            with torch.inference_mode(), torch.cuda.device(self.device if self.device.type == "cuda" else -1):
                yield
        except torch.cuda.OutOfMemoryError:
            raise UnsupportedError(
                f"The memory of {self.name} is too small for this model; ask for a smaller context, or for --kv int8."
            ) from None


def _rectangle(tables: Sequence[Sequence[int]]) -> np.ndarray:
    """Rows of different lengths as int32 [n, longest], filled up with 0, a block that no position reads."""
    rectangle = np.zeros((len(tables), max(map(len, tables))), np.int32)
    for row, table in zip(rectangle, tables, strict=True):
        row[: len(table)] = table
    return rectangle


def _lowest_best(logits: torch.Tensor) -> torch.Tensor:
    """The most likely id of each row, the lowest of equals, int64 [n]; NaN counts as minus infinity."""
    clean = logits.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    ids = torch.arange(logits.shape[1], device=logits.device)
    best = torch.where(clean == clean.amax(dim=1, keepdim=True), ids, logits.shape[1])
    return best.amin(dim=1)


def _is_greedy(sampling: RowSampling) -> bool:
    """Whether the most likely token is wanted, and nothing else."""
    params = sampling.params
    penalised = (params.repetition_penalty, params.presence_penalty, params.frequency_penalty) != (1.0, 0.0, 0.0)
    changed = penalised or params.logit_bias or sampling.banned or sampling.mask is not None
    return params.temperature == 0 and params.logprobs is None and not changed
