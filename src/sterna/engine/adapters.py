"""The adapters of an `LLM`: loaded and dropped by name while it runs, and chosen for each request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sterna.engine.backend import NO_ADAPTER, LoadedAdapter, Mix
from sterna.errors import ArgumentError, shown, suggestion
from sterna.model.config import ModelConfig
from sterna.tensor.tensor import AnyTensor

if TYPE_CHECKING:
    from sterna.checkpoint.adapters import LowRank

Choice = str | Mapping[str, float] | None
"""What a caller asks for: no adapter, one by its name, or several with their scales."""

_serials = count(1)


class Adapters:
    """The adapters of one model by name, for callers on any thread."""

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, AnyTensor],
        load: Callable[[Mapping[str, LowRank]], Any],
    ) -> None:
        """`tensors`: the model's. `load`: makes the backend's own form of updates, whose rows and columns are in the
        order of these."""
        self._config, self._tensors, self._load = config, tensors, load
        self._loaded: Mapping[str, LoadedAdapter] = {}
        """Is replaced as a whole, so that other threads may read it without the lock."""
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of all adapters."""
        return list(self._loaded)

    def add(self, name: str, path: str | Path) -> None:
        """Loads the adapter at a path. Raises as `read_adapter` and `in_model`, and ArgumentError for a name that is
        none or taken."""
        if not isinstance(name, str) or not name.strip():
            raise ArgumentError("The name of an adapter is text.")
        if not isinstance(path, (str, Path)) or not str(path) or "\0" in str(path):
            raise ArgumentError(f"The adapter {shown(name)} needs the path of a folder or of a GGUF file.")
        self._check_free(name)
        from sterna.checkpoint.adapters import in_model, read_adapter  # which import all readers of models

        updates = in_model(read_adapter(path, self._config), self._config, self._tensors).updates
        # What changes no number changes no bit either: it is left out.
        handle = self._load({key: low for key, low in updates.items() if low.a.any() and low.b.any() and low.scale})
        with self._lock:
            self._check_free(name)
            self._loaded = {**self._loaded, name: LoadedAdapter(name, next(_serials), handle)}

    def _check_free(self, name: str) -> None:
        if name in self._loaded:
            raise ArgumentError(f"An adapter {shown(name)} is loaded already; unload it first.")

    def remove(self, name: str) -> LoadedAdapter:
        """Forgets an adapter. Requests that were made with it go on. Raises ArgumentError for an unknown name."""
        with self._lock:
            adapter = self._known(name)
            self._loaded = {other: each for other, each in self._loaded.items() if other != adapter.name}
        return adapter

    def mix(self, adapter: Choice) -> Mix:
        """The mix that a caller asks for. Raises ArgumentError for unknown names and for scales that are no numbers."""
        if adapter is None:
            return NO_ADAPTER
        scales = {adapter: 1.0} if isinstance(adapter, str) else adapter
        if not isinstance(scales, Mapping):
            raise ArgumentError("An adapter is chosen by its name, or by a mapping of names to scales.")
        parts = [(self._known(name), _scale(name, scale)) for name, scale in scales.items()]
        return Mix(tuple(sorted(((part, scale) for part, scale in parts if scale), key=lambda part: part[0].name)))

    def _known(self, name: object) -> LoadedAdapter:
        found = self._loaded.get(name) if isinstance(name, str) else None
        if found is None:
            end = suggestion(str(name)[:60], self._loaded, None if self._loaded else "none is loaded")
            raise ArgumentError(f"There is no adapter {shown(name)}{end}")
        return found


def each(adapter: Choice | Sequence[Choice], prompts: int) -> list[Choice]:
    """The choice for each of so many prompts: one for all, or a list with one entry a prompt. Raises ArgumentError for
    a list of another length."""
    if adapter is None or isinstance(adapter, (str, Mapping)) or not isinstance(adapter, Sequence):
        return [adapter] * prompts
    if len(adapter) != prompts:
        raise ArgumentError(f"There are {prompts} prompts, and the list of adapters has {len(adapter)} entries.")
    return list(adapter)


def _scale(name: object, scale: object) -> float:
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not abs(scale) <= 1e6:  # NaN, too
        raise ArgumentError(f"The scale of the adapter {shown(name)} is a number up to a million, not {shown(scale)}.")
    return float(scale)
