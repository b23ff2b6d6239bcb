"""Makes the records of a run while its loop goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from sterna.train.config import TrainingSection, WatchSection
from sterna.train.schedule import learning_rate_factor, stage, weight_decay
from sterna.train.watch.records import Record, Sink
from sterna.train.watch.weights import WeightWatch


class Watch:
    """Receives what the loop does, and sends records to sinks.

    `live` receives a record of kind `step` after every step, for a line that is written over.
    """

    def __init__(
        self,
        model: nn.Module,
        training: TrainingSection,
        watch: WatchSection,
        tokens: Callable[[int], int],
        peak_tokens_per_second: float,
        step: int,
        sinks: Sequence[Sink],
        live: Callable[[Record], None] | None = None,
    ) -> None:
        """`tokens`: how many tokens the batches of so many first steps have. `peak_tokens_per_second`: what the machine
        would make if it did nothing but matrix products. `step`: the steps that were made before."""
        self._training, self._every = training, watch.weights_steps
        self._tokens, self._peak = tokens, peak_tokens_per_second
        self._sinks, self._live = sinks, live
        self._weights = WeightWatch(model)
        self._first = self._counted = self._logged = step
        self._begun = time.monotonic()
        self._losses: list[float] = []
        self._terms: dict[str, list[float]] = {}
        self._norm: float | None = None
        self._seconds = 0.0
        if step == 0:
            self._count_weights(0)

    def record(self, kind: str, step: int, **entries: Any) -> None:
        """Sends a record to every sink."""
        for sink in self._sinks:
            sink({"kind": kind, "step": step, **entries})

    def stepped(
        self,
        step: int,
        loss: float,
        norm: float,
        seconds: float,
        skipped: str | None,
        terms: Mapping[str, float] = {},  # noqa: B006 (it is not changed)
    ) -> None:
        """A step was made in so many seconds, or skipped for a reason; `terms` are those of its loss, by name."""
        training = self._training
        self._seconds += seconds
        if skipped is not None:
            self.record("skip", step, reason=skipped)
        else:
            self._losses.append(loss)
            for name, value in terms.items():
                self._terms.setdefault(name, []).append(value)
            self._norm = norm
        if self._live is not None:
            self._live(self._step_record(step))
        if step % training.log_steps == 0 or step == training.steps:
            self.record(**self._step_record(step))
            self._losses, self._terms, self._norm, self._logged, self._seconds = [], {}, None, step, 0.0
        if step < training.steps and stage(step, training) != stage(step - 1, training):
            self.record("stage", step, stage=stage(step, training))
        if step % self._every == 0:
            self._count_weights(step)

    def _step_record(self, step: int) -> dict[str, Any]:
        training, last = self._training, step - 1
        tokens = self._tokens(step)
        speed = (tokens - self._tokens(self._logged)) / max(self._seconds, 1e-9)
        a_step = (time.monotonic() - self._begun) / (step - self._first)
        terms = {name: math.fsum(values) / len(values) for name, values in self._terms.items()}
        return {
            "kind": "step",
            "step": step,
            "loss": math.fsum(self._losses) / len(self._losses) if self._losses else None,
            "norm": self._norm,
            "factor": learning_rate_factor(last, training),
            "weight_decay": weight_decay(last, training),
            "stage": stage(last, training),
            "tokens": tokens,
            "tokens_per_second": speed,
            "peak_share": speed / self._peak,
            "seconds_left": (training.steps - step) * a_step,
            **({"terms": terms} if terms else {}),
        }

    def _count_weights(self, step: int) -> None:
        self.record("weights", step, matrices=self._weights(), over=step - self._counted)
        self._counted = step
