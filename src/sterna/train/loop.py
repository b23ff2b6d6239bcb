"""The training loop, from top to bottom: what every training of Sterna runs, whatever its model, data and loss."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sterna.errors import SternaError
from sterna.train.checkpoints import Checkpoints
from sterna.train.config import TrainingSection
from sterna.train.distributed import mean_over_processes, whole
from sterna.train.guard import Guard
from sterna.train.optimizer import Optimizers
from sterna.train.schedule import learning_rate_factor, weight_decay
from sterna.train.state import GUARD, TASK, not_finite
from sterna.train.watch.watch import Watch


class DivergedError(SternaError):
    """The loss, its gradients, the weights or the optimizers' state are no longer finite, or leap step after step."""


class Task(Protocol):
    """What is trained: a model, its batches, their loss, and what is measured on the way."""

    @property
    def model(self) -> nn.Module:
        """The model, whose parameters the optimizers have."""

    def tokens(self, steps: int) -> int:
        """How many tokens the batches of the first `steps` steps have."""

    def parts(self, step: int) -> Iterable[Any]:
        """The parts of the batch of a step, counted from 0: a function of the step alone, so that a resumed run sees
        the batches that an unbroken one sees."""

    def loss(self, part: Any) -> Tensor:
        """The share of a part in the step's loss, a scalar: the losses of all parts add up to it."""

    def evaluate(self) -> Mapping[str, float]:
        """What is measured on held-out data, by name; empty without such data."""

    def terms(self) -> Mapping[str, float]:
        """The terms of the loss of the last step, and what else is recorded of a step, by name."""

    def samples(self) -> Iterable[Mapping[str, str]]:
        """Texts of the model: entries of a `sample` record."""

    def recorded(self) -> Mapping[str, float]:
        """What it found out of the model before the first step, by name, for those who go on from a state."""


@dataclass
class Position:
    """Where a run stands."""

    step: int = 0
    """The steps that have been made."""
    saved: int = 0
    """The step of the last state."""

    def goes_on(self) -> str:
        """What the same command does after this run, as the end of a sentence."""
        return f"goes on from step {self.saved}" if self.saved else "begins again"


class Run:
    """A task with its optimizers, its states on disk, and where it stands."""

    def __init__(
        self,
        task: Task,
        optimizers: Optimizers,
        training: TrainingSection,
        checkpoints: Checkpoints,
        origin: Mapping[str, object],
        position: Position,
        guard: Mapping[str, Any],
    ) -> None:
        """`origin`: what the states record about the run (`save_state`). `guard`: from the state from which it goes on,
        or empty."""
        self.task, self.optimizers, self.training = task, optimizers, training
        self.checkpoints, self.origin = checkpoints, origin
        self.position = position
        self.guard = Guard(training.spike_sigmas)
        self.guard.restore(guard)

    def train(self, watch: Watch) -> None:
        """Trains until the last step. Raises DivergedError; the last state is then a good one."""
        training, due = self.training, False
        while (step := self.position.step) < training.steps:
            begun = time.monotonic()
            loss, norm = self._gradients(step)
            skipped = self.guard.reason(loss, norm)
            if skipped is None:
                self.optimizers.step(learning_rate_factor(step, training), weight_decay(step, training))
            else:
                self.optimizers.zero_grad()
            step += 1
            self.position.step = step
            watch.stepped(step, loss, norm, time.monotonic() - begun, skipped, self.task.terms())
            last, finite = step == training.steps, math.isfinite(loss) and math.isfinite(norm)
            if self.guard.skipped > training.most_skipped or (last and not finite):
                raise DivergedError(f"At step {step} {skipped}; {self._advice()}")
            due |= last or step % training.checkpoint_steps == 0
            if due and finite:
                self._save(watch)
                due = False
            if finite and step % training.eval_steps == 0:
                self._check_finite()
                if measured := self.task.evaluate():
                    watch.record("valid", step, **measured)
                for sample in self.task.samples():
                    watch.record("sample", step, **sample)

    def _gradients(self, step: int) -> tuple[float, float]:
        """Adds up the gradients of a step; returns its loss and their norm before they were clipped, the same on
        every process."""
        total = torch.zeros(())
        for part in self.task.parts(step):
            loss = self.task.loss(part)
            loss.backward()
            total = total + loss.detach().cpu()
        parameters = self.task.model.parameters()
        norm = nn.utils.clip_grad_norm_(parameters, self.training.gradient_clip)
        return mean_over_processes(total).item(), whole(norm).item()

    def _save(self, watch: Watch) -> None:
        begun, position = time.monotonic(), self.position
        self._check_finite()
        origin = {**self.origin, GUARD: self.guard.recorded(), TASK: dict(self.task.recorded())}
        self.checkpoints.save(self.task.model, self.optimizers, position.step, origin)
        position.saved = position.step
        watch.record("checkpoint", position.step, seconds=time.monotonic() - begun)

    def _check_finite(self) -> None:
        if name := not_finite(self.task.model, self.optimizers):
            step = self.position.step
            raise DivergedError(f"After step {step} {name} has numbers that are not finite; {self._advice()}")

    def _advice(self) -> str:
        """What to do about a run that diverged."""
        then = (
            f": the same command then {self.position.goes_on()}, the last step that was saved."
            if self.position.saved
            else ", and start it again."
        )
        return f"lower training.learning_rate and training.embedding_learning_rate{then}"
