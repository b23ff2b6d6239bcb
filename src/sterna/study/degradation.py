"""`sterna study degradation`: what few bits cost first, measured on models that are trained here, or on a given one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sterna.bench.sizing.weights import layers_encoding
from sterna.checkpoint import open_checkpoint
from sterna.errors import ArgumentError
from sterna.study import models
from sterna.study.corpus import training_texts, unseen_texts
from sterna.study.measure import Comparison, Measure, Row
from sterna.study.models import Model, Size
from sterna.study.precisions import precisions
from sterna.study.tasks import EXAMPLES, Task, own_tasks, problem_tasks, tasks_of_files
from sterna.tensor.encodings import Encoding

SEED = 20261126
"""Of all items; so the same models give the same counts."""
SAMPLES, LENGTH, CHARACTERS = 32, 256, 50_000
"""For a given model: windows of text that quantisers see, their tokens, and the characters of unseen text that are
scored."""
MEASURED = "measured"
"""Where results are kept, in the folder of the study."""

FLOATS = [encoding.value.upper() for encoding in (Encoding.F16, Encoding.BF16, Encoding.F32)]

Told = Callable[[str], None]


@dataclass(frozen=True)
class Study:
    """What a study found. `items`: of each task; `counted`: the tasks that passed the filter, by model; `stand_in`:
    whether problems as four choices stand for those that are to be answered, of which none passed. `missing`:
    precisions whose methods are not there; `models`: SHA-256 of each."""

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
    told: Told = lambda line: None,
) -> Study:
    """Trains what is to be trained, then quantises and measures every float model and measures the trained others.

    `texts`: novels to train on, `held_out`: others; without them the passages that come with Sterna are divided. A
    study goes on where it was interrupted: at the last checkpoint of a training, and at the item that was asked last.
    Raises NotFoundError where a model is missing, ArgumentError where those of the folder are trained on other texts,
    and what training and quantising raise.
    """
    models.check_texts(folder, texts, held_out)
    unseen = unseen_texts(held_out)
    with models.fixed_threads(size.threads):
        if train:
            models.prepare(folder, size, texts, held_out)
            models.train(folder, size, told)
        found = models.found(folder, size)
        asked = own_tasks(size.items, SEED, unseen)
        table = _Table(folder, asked, Measure(folder / MEASURED, "\n\n".join(unseen)[: size.characters], told))
        for model in found:
            if model.name.startswith("float"):
                others = [other for other in found if other.name in ("ternary", "binary")] if model is found[0] else []
                table.add(model, "F16", size.samples, size.context, others)
    return table.study({model.name: model.sha256 for model in found})


def study_model(
    folder: Path,
    name: str,
    path: Path,
    files: Sequence[tuple[str, Path]],
    limit: int,
    held_out: Sequence[Path] = (),
    told: Told = lambda line: None,
) -> Study:
    """Quantises and measures the model at `path`, called `name` in the table, on at most `limit` items of each task of
    `files` (name and file, as `find_tasks` gives them) and of each skill, whose problems stand after solved ones.

    Quantisers see passages that come with Sterna; text is scored on others of them, or on the files `held_out`. Raises
    FormatError for files that are no tasks, ArgumentError for two of one name, and what quantising raises.
    """
    asked = [*tasks_of_files(files, limit), *problem_tasks(limit, SEED, EXAMPLES)]
    twice = [title for title, times in Counter(task.title for task in asked).items() if times > 1]
    if twice:
        raise ArgumentError(f"Two tasks are called '{twice[0]}', so their results could not be told apart.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / models.CALIBRATION).write_text("\n\n".join(training_texts(())), encoding="utf-8")
    model = Model(name, path, models.sha256_of(path))
    text = "\n\n".join(unseen_texts(held_out))[:CHARACTERS]
    table = _Table(folder, asked, Measure(folder / MEASURED, text, told))
    table.add(model, layers_encoding(open_checkpoint(path).tensors).value.upper(), SAMPLES, LENGTH)
    return table.study({model.name: model.sha256})


class _Table:
    """The rows of a study as they are measured."""

    def __init__(self, folder: Path, asked: Sequence[Task], measure: Measure) -> None:
        self._folder, self._asked, self._measure = folder, asked, measure
        self._rows: list[Row] = []
        self._missing: list[str] = []
        self._counted: dict[str, list[str]] = {}
        self._stand_in: dict[str, bool] = {}

    def add(self, model: Model, label: str, samples: int, length: int, others: Sequence[Model] = ()) -> None:
        """The rows of a float model, whose weights `label` names, and of `others`, which are compared with it."""
        # The tasks that count are fixed before anything is quantised.
        compared = Comparison(model, label, self._asked, self._measure)
        self._counted[model.name] = [task.title for task in compared.counted]
        self._stand_in[model.name] = compared.stand_in
        self._rows.append(compared.row(label, model.path))
        rules, self._missing = precisions(samples, length)
        base = "" if label in FLOATS else f" (of {label})"
        for rule in rules:
            # Named after the model's content too: one that was trained anew is quantised anew.
            target = self._folder / "quantized" / f"{model.name}-{model.sha256[:16]}" / rule.name.replace(" ", "-")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                rule.apply(model.path, target, self._folder / models.CALIBRATION)
            self._rows.append(compared.row(rule.name + base, target))
        self._rows += [compared.row(f"{other.name} (trained)", other.path, other) for other in others]

    def study(self, sha256: dict[str, str]) -> Study:
        """All rows, of the models with these checksums."""
        items = {task.title: len(task.items) for task in self._asked}
        return Study(items, self._counted, self._stand_in, self._rows, self._missing, sha256)
