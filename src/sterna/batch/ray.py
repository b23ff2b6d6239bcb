"""The lines of a job on a Ray cluster: Ray Data, with one actor a node that holds one model.

The reading, the files and what survives a kill are those of every job, on the machine that starts it. The nodes only
answer lines. A task whose worker or node is lost is run again by Ray, elsewhere if need be.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from operator import attrgetter
from typing import Any

from sterna.batch.answerer import Answerer
from sterna.batch.lines import Entry, RawLine, parse_line
from sterna.batch.outcome import Outcome, refused
from sterna.batch.window import by_prefix
from sterna.batch.worker import open_answerer
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import SternaError, UnsupportedError

LINES = 512
"""Lines of a task: what is lost with a worker."""
CONNECT_SECONDS = 10
SLAB = 100_000
"""Lines that are handed to Ray at a time. For each such slab the nodes load the model anew."""


def outcomes_on_ray(
    asked: Iterable[Entry], address: str, model: str, seed: int, params: SamplingParams, options: EngineOptions
) -> Iterator[Outcome]:
    """What becomes of lines, in any order. `address`: of the cluster, or `local` for one on this machine. `model`: a
    name or a path that all nodes have.

    Raises `UnsupportedError` without Ray, or where the cluster fails or has no processors.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise UnsupportedError("A cluster needs Ray: pip install 'sterna[ray]'.") from None
    rest = iter(asked)
    with _connected(ray, address):
        nodes = [node["Resources"].get("CPU") for node in ray.nodes() if node["Alive"]]
        cpus = [count for count in nodes if count]
        if not cpus:
            raise UnsupportedError(f"The cluster at {address} has no node with processors; add one to it.")
        while slab := list(islice(rest, SLAB)):
            yield from (refused(entry, entry.error) for entry in slab if entry.error is not None)
            good = by_prefix((entry for entry in slab if entry.error is None), attrgetter("prefix"))
            rows = [{"number": e.raw.number, "data": e.raw.data, "key": e.key} for e in good]
            if not rows:
                continue
            answered = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // LINES)).map_batches(
                _Lines,
                fn_constructor_args=[model, seed, params, options],
                batch_size=LINES,
                # So many processors that no node has room for a second actor.
                num_cpus=min(cpus),
                compute=ray.data.ActorPoolStrategy(size=len(cpus)),
            )
            for batch in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    outcome = Outcome(**row)
                    if outcome.key == _NO_KEY:
                        raise UnsupportedError(f"A node has no model: {outcome.data.decode()}")
                    yield outcome


_NO_KEY = ""
"""Stands for the key of a line where a node says that it has no model."""


class _Lines:
    """The model of one node."""

    def __init__(self, model: str, seed: int, params: SamplingParams, options: EngineOptions) -> None:
        # Ray would start an actor that fails here again and again, and would print a page about an error in a task.
        self._answerer: Answerer | SternaError
        try:
            self._answerer = open_answerer(model, seed, params, options)
        except SternaError as error:
            self._answerer = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        if isinstance(self._answerer, SternaError):
            return _columns([Outcome(_NO_KEY, str(self._answerer).encode(), failed=True)])
        raws = [RawLine(int(number), bytes(data)) for number, data in zip(batch["number"], batch["data"], strict=True)]
        asked = [Entry(raw, str(key), parse_line(raw)) for raw, key in zip(raws, batch["key"], strict=True)]
        return _columns(list(self._answerer.outcomes(asked)))


def _columns(outcomes: list[Outcome]) -> dict[str, list[Any]]:
    return {name: [getattr(outcome, name) for outcome in outcomes] for name in Outcome.__dataclass_fields__}


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connects to Ray, unless it is connected already. Raises `UnsupportedError`, in one sentence, where Ray fails."""
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(ray, address)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
    except (OSError, ray.exceptions.RayError) as error:
        raise UnsupportedError(f"The cluster at {address} failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Raises OSError where there is no cluster. Ray itself would try for minutes to reach a `HOST:PORT`."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "://" not in address:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except RuntimeError as error:  # it does not answer as a cluster does
        raise OSError(str(error)) from error
