"""What a study measures of a model, and how a precision compares with the float model that it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from sterna.engine.llm import LLM
from sterna.evaluate.perplexity import evaluate_text
from sterna.evaluate.run import Kept
from sterna.files.fingerprint import fingerprint
from sterna.ptq.run import weight_bytes
from sterna.study.models import Model
from sterna.study.statistics import Pairs, Ratio, counts, loss_ratio, mcnemar, retention
from sterna.study.tasks import CHOICES, LANGUAGE, MATHS, Answers, Task, answers, ask

WINDOW = 1024
"""Most tokens of the text that are computed together: in a context of thousands, attention takes most of the time."""


@dataclass(frozen=True)
class Row:
    """One precision of one model. `bytes`: of its files.

    `maths`, `language`: mean retention over the tasks that count, None where none does; `maths` is that of problems as
    four choices where `Study.stand_in` says so. Two controls beside them: `tokens` compares the single tokens of the
    answers of maths, each after the right ones before, and `choices` the problems as four choices, which are judged as
    language is. `accuracy`: right items of each task that was asked, `p`: McNemar's test against the float model, by
    task; `margin`: by how many nats the right choice leads, on average. `trained`: weights of its own, not those of the
    float model.
    """

    precision: str
    model: str
    trained: bool
    bytes: int
    bits_per_byte: float
    maths: float | None
    tokens: float | None
    choices: float | None
    language: float | None
    ratio: Ratio
    accuracy: dict[str, int]
    p: dict[str, float]
    margin: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """A model's answers by the title of the task, and its bits per byte of the unseen text."""

    answers: Mapping[str, Answers]
    bits_per_byte: float


class Measure:
    """Measures models on tasks and on the text of a study. Results are kept in `folder`, in a file for each model, and
    what is there is not measured again."""

    def __init__(self, folder: Path, text: str, told: Callable[[str], None]) -> None:
        self._folder, self._text, self._told = folder, text, told

    def of(self, path: Path, label: str, asked: Sequence[Task]) -> Measured:
        """The model at `path`, which `label` names for the user, on these tasks."""
        self._folder.mkdir(parents=True, exist_ok=True)
        model = fingerprint(path)
        text = f"text in windows of {WINDOW} {sha256(self._text.encode()).hexdigest()}"
        with Kept(self._folder / f"{model}.jsonl", {"model": model}) as kept:
            left = [task for task in asked if len(kept.of(task.key)) < len(task.items)]
            if left or not kept.of(text):
                self._told(f"measuring {label}")
                with LLM(path) as llm:
                    ask(llm, left, kept)
                    if not kept.of(text):
                        score = evaluate_text(llm, self._text, window=WINDOW)
                        kept.add(text, 0, {"bits_per_byte": score.bits_per_byte})
            return Measured(answers(asked, kept), kept.of(text)[0]["bits_per_byte"])


class Comparison:
    """Rows of the table that are compared with one float model. Which tasks count is fixed by that model alone."""

    def __init__(self, model: Model, label: str, asked: Sequence[Task], measure: Measure) -> None:
        self._model, self._measure = model, measure
        self._measured = measure.of(model.path, f"{model.name} as {label}", asked)
        self._reference = self._measured.answers
        self.counted = [task for task in asked if counts(self._reference[task.title].right, task.chance)]
        # To generate texts takes long, and so do solved problems before each one: only what counts is asked so.
        self._asked = [task for task in asked if task in self.counted or not (task.generates or task.before)]
        self.stand_in = not any(task.kind == MATHS for task in self.counted)

    def row(self, precision: str, path: Path, other: Model | None = None) -> Row:
        """The row of a precision, whose model is at `path`; `other`: the model, where it is not the float one."""
        model, measured = (other or self._model).name, self._measured
        if path != self._model.path:
            measured = self._measure.of(path, f"{model} as {precision}", self._asked)
        found = measured.answers
        maths, language = self._right(found, CHOICES if self.stand_in else MATHS), self._right(found, LANGUAGE)
        return Row(
            precision=precision,
            model=model,
            trained=other is not None,
            bytes=weight_bytes(path),
            bits_per_byte=measured.bits_per_byte,
            maths=_mean(maths),
            tokens=_mean(self._tokens(found)),
            choices=_mean(self._right(found, CHOICES)),
            language=_mean(language),
            ratio=loss_ratio(maths, language),
            accuracy={title: int(each.right.sum()) for title, each in found.items()},
            p={
                task.title: mcnemar(found[task.title].right, self._reference[task.title].right) for task in self.counted
            },
            margin={
                title: float(each.others["margin"].mean()) for title, each in found.items() if "margin" in each.others
            },
        )

    def _right(self, found: Mapping[str, Answers], kind: str) -> Pairs:
        return [
            (found[task.title].right, self._reference[task.title].right, task.chance)
            for task in self.counted
            if task.kind == kind
        ]

    def _tokens(self, found: Mapping[str, Answers]) -> Pairs:
        return [
            (found[task.title].others["tokens"], self._reference[task.title].others["tokens"], task.word_chance)
            for task in self.counted
            if "tokens" in found[task.title].others
        ]


def _mean(pairs: Pairs) -> float | None:
    return float(np.mean([retention(*pair) for pair in pairs])) if pairs else None
