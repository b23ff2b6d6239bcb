"""`sterna study degradation`: what few bits cost first, measured on models that are trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sterna.engine.llm import LLM
from sterna.evaluate.perplexity import evaluate_text
from sterna.ptq.run import weight_bytes
from sterna.study import models
from sterna.study.corpus import unseen_texts
from sterna.study.models import Model, Size
from sterna.study.precisions import precisions
from sterna.study.statistics import Pairs, Ratio, counts, loss_ratio, mcnemar, retention
from sterna.study.tasks import CHOICES, LANGUAGE, MATHS, Task, answers, tasks

SEED = 20261126
"""Of all items; so the same models give the same counts."""
SCORED_CHARACTERS = 100_000
"""Of the unseen text, for bits per byte."""

Right = Mapping[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Row:
    """One precision of one model. `bytes`: of its files. `maths`, `language`: mean retention over the tasks that count,
    None where none does; `maths` is that of problems as four choices where `Study.stand_in` says so. `accuracy`:
    right items of each task, `p`: McNemar's test against F16. `trained`: weights of its own, not those of the float
    model."""

    precision: str
    model: str
    trained: bool
    bytes: int
    bits_per_byte: float
    maths: float | None
    language: float | None
    ratio: Ratio
    accuracy: dict[str, int]
    p: dict[str, float]


@dataclass(frozen=True)
class Study:
    """What a study found. `counted`: the tasks that passed the filter, by model; `stand_in`: whether problems as four
    choices stand for those that are to be answered, of which none passed. `missing`: precisions whose methods are
    not there."""

    items: dict[str, int]
    counted: dict[str, list[str]]
    stand_in: dict[str, bool]
    rows: list[Row]
    missing: list[str]
    models: dict[str, str]


def run_study(
    folder: Path,
    size: Size,
    train: bool,
    texts: Sequence[Path] = (),
    held_out: Sequence[Path] = (),
    told: Callable[[str], None] = lambda line: None,
) -> Study:
    """Trains what is to be trained, then quantises and measures every float model and measures the trained others.

    `texts`: novels to train on, `held_out`: others; without them the passages that come with Sterna are divided. A
    study goes on where it was interrupted: at the last checkpoint of a training; measurements are made again.
    Raises NotFoundError where a model is missing, ArgumentError where those of the folder are trained on other texts,
    and what training and quantising raise.
    """
    models.check_texts(folder, texts, held_out)
    unseen = unseen_texts(held_out)
    if train:
        models.prepare(folder, size, texts, held_out)
        models.train(folder, size, told)
    found = models.found(folder, size)
    asked = tasks(size.items, SEED, unseen)
    text = "\n\n".join(unseen)[:SCORED_CHARACTERS]
    rules, missing = precisions(samples=32, length=size.context)
    measure = _Measure(asked, text, told)
    rows: list[Row] = []
    counted: dict[str, list[str]] = {}
    stand_in: dict[str, bool] = {}
    for model in found:
        if not model.name.startswith("float"):
            continue
        reference = measure.answers(model.path, "F16", model.name)
        # The filter is fixed before anything is quantised.
        passed = [task for task in asked if counts(reference[task.kind, task.name], task.chance)]
        stand_in[model.name] = not any(task.kind == MATHS for task in passed)
        counted[model.name] = [f"{task.kind}: {task.name}" for task in passed]
        row = _Rows(model, passed, reference, CHOICES if stand_in[model.name] else MATHS, measure)
        rows.append(row.of("F16", model.path))
        for rule in rules:
            # Named after the model's content too: one that was trained anew is quantised anew.
            target = folder / "quantized" / f"{model.name}-{model.sha256[:16]}" / rule.name.replace(" ", "-")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                rule.apply(model.path, target, folder / models.CALIBRATION)
            rows.append(row.of(rule.name, target))
        if model is found[0]:
            rows += [
                row.of(f"{other.name} (trained)", other.path, other)
                for other in found
                if other.name in ("ternary", "binary")
            ]
    items = {f"{task.kind}: {task.name}": len(task.pairs) for task in asked}
    return Study(items, counted, stand_in, rows, missing, {model.name: model.sha256 for model in found})


class _Measure:
    """Measures models on the tasks and the text of a study; what was measured once is known."""

    def __init__(self, asked: Sequence[Task], text: str, told: Callable[[str], None]) -> None:
        self.tasks, self._text, self._told = asked, text, told
        self._known: dict[Path, tuple[Right, float]] = {}

    def answers(self, path: Path, precision: str, model: str) -> Right:
        """What a model gets right."""
        return self._measured(path, precision, model)[0]

    def bits_per_byte(self, path: Path) -> float:
        """Of the unseen text, for a model whose answers are known."""
        return self._known[path][1]

    def _measured(self, path: Path, precision: str, model: str) -> tuple[Right, float]:
        if path not in self._known:
            self._told(f"measuring {model} as {precision}")
            with LLM(path) as llm:
                self._known[path] = answers(llm, self.tasks), evaluate_text(llm, self._text).bits_per_byte
        return self._known[path]


class _Rows:
    """Rows of the table that are compared with one float model."""

    def __init__(self, model: Model, passed: list[Task], reference: Right, maths: str, measure: _Measure) -> None:
        self._model, self._passed, self._reference, self._maths, self._measure = (
            model,
            passed,
            reference,
            maths,
            measure,
        )

    def of(self, precision: str, path: Path, other: Model | None = None) -> Row:
        """The row of a precision, whose model is at `path`; `other`: the model, where it is not the float one."""
        model = (other or self._model).name
        right = self._measure.answers(path, precision, model)
        maths, language = self._pairs(right, self._maths), self._pairs(right, LANGUAGE)
        tested = {
            f"{task.kind}: {task.name}": (right[task.kind, task.name], self._reference[task.kind, task.name])
            for task in self._passed
        }
        return Row(
            precision=precision,
            model=model,
            trained=other is not None,
            bytes=weight_bytes(path),
            bits_per_byte=self._measure.bits_per_byte(path),
            maths=_mean(maths),
            language=_mean(language),
            ratio=loss_ratio(maths, language),
            accuracy={f"{kind}: {name}": int(values.sum()) for (kind, name), values in right.items()},
            p={name: mcnemar(*pair) for name, pair in tested.items()},
        )

    def _pairs(self, right: Right, kind: str) -> Pairs:
        return [
            (right[kind, task.name], self._reference[kind, task.name], task.chance)
            for task in self._passed
            if task.kind == kind
        ]


def _mean(pairs: Pairs) -> float | None:
    return float(np.mean([retention(*pair) for pair in pairs])) if pairs else None
