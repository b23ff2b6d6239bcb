"""Passes of few tokens as CUDA graphs: a launch for the whole pass, where the launches of its steps would take longer
than the steps."""

from __future__ import annotations

from collections.abc import Callable

import torch

SIZES = (1, 2, 4, 8, 16, 32)
"""Tokens of the passes that are recorded; others take the next larger one, filled up."""


def padded(tokens: int) -> int:
    """How many tokens a pass of so many has where it is recorded; the same where it is not."""
    return next((size for size in SIZES if size >= tokens), tokens)


class Graphs:
    """The recorded passes of one runner, by their tokens. They hold for the buffers that they were recorded with."""

    def __init__(self, run: Callable[[int], None]) -> None:
        self._run = run
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._serial = -1

    def run(self, tokens: int, serial: int) -> None:
        """A pass of so many tokens; `serial`: of the buffers. A size is recorded when it comes for the first time."""
        if serial != self._serial:
            self._graphs, self._serial = {}, serial
        if tokens not in SIZES:
            self._run(tokens)
            return
        if tokens not in self._graphs:
            self._run(tokens)  # compiles kernels and makes buffers; recording computes nothing
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another model may allocate meanwhile
                self._run(tokens)
            self._graphs[tokens] = graph
            return
        self._graphs[tokens].replay()
