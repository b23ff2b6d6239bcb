"""The tasks of a study and their items, and what a model makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np

from sterna.engine.llm import LLM
from sterna.evaluate.run import Kept, item_results, read_items
from sterna.evaluate.scoring import Score
from sterna.evaluate.tasks import Item, Results
from sterna.study.language import Choices, cloze, generated, next_sentence
from sterna.study.skills import SKILLS, Problem, problems, training_lines

MATHS, CHOICES, LANGUAGE = "maths", "maths as choices", "language"
EXAMPLES = 8
"""Solved problems before each one, for a model that was not trained on any."""


@dataclass(frozen=True)
class Task:
    """`kind`: MATHS, CHOICES or LANGUAGE; `chance`: the share that guessing gets right; `word_chance`: the share of the
    single words of its answers that guessing gets right. The first result of an item says whether it is right.
    `before`: what stands before each item."""

    name: str
    kind: str
    chance: float
    items: list[Item]
    before: str = ""
    word_chance: float = 0.0

    @property
    def title(self) -> str:
        """The kind and the name."""
        return f"{self.kind}: {self.name}"

    @cached_property
    def key(self) -> str:
        """The title, and a checksum of what is asked: results are kept under it."""
        asked = [(item.pairs, item.prompt, item.shown) for item in self.items]
        return f"{self.title} {sha256(repr((self.before, asked)).encode()).hexdigest()}"

    @property
    def generates(self) -> bool:
        """Whether texts are generated, and not only scored."""
        return any(item.prompt is not None for item in self.items)


def problem_tasks(items: int, seed: int, examples: int = 0) -> Iterable[Task]:
    """The problems of each skill, at most so many: to be answered, and as choices between four answers."""
    for name, skill in SKILLS.items():
        asked = problems(name, items, seed)
        before = "".join(islice(training_lines(seed, [name]), examples))
        word_chance = max(skill.chance, commonest_word_share(asked))
        yield Task(name, MATHS, skill.chance, [answered(each) for each in asked], before, word_chance)
        yield Task(name, CHOICES, max(skill.chance, 0.25), [chosen(_ways(each)) for each in asked], before)


def commonest_word_share(asked: Sequence[Problem]) -> float:
    """The share of the answers' words that are the most common one, which guessing that one gets right."""
    words = Counter(word for problem in asked for word in problem.answer.split())
    return max(words.values()) / words.total()


def own_tasks(items: int, seed: int, held_out: Sequence[str]) -> list[Task]:
    """All tasks for models that are trained by the study; `held_out`: texts on which nothing was trained."""
    found = [*problem_tasks(items, seed)]
    for name, chance, choices in (
        ("agreement", 0.5, generated("agreement", items, seed)),
        ("gender", 0.5, generated("gender", items, seed)),
        ("cloze", 0.25, cloze(held_out, items, seed)),
        ("next sentence", 0.25, next_sentence(held_out, items, seed)),
    ):
        found.append(Task(name, LANGUAGE, chance, [chosen(_pairs(each)) for each in choices]))
    return [task for task in found if task.items]


def tasks_of_files(files: Sequence[tuple[str, Path]], limit: int | None) -> list[Task]:
    """The tasks of `sterna eval`, of which those whose answers are numbers are maths, and the others language. Raises
    FormatError as `read_items`."""
    found = []
    for name, path in files:
        items = read_items(path, limit)
        chance = float(np.mean([1 / len(item.pairs) if len(item.pairs) > 1 else 0.0 for item in items] or [0.0]))
        found.append(Task(name, LANGUAGE if any(item.pairs for item in items) else MATHS, chance, items))
    return [task for task in found if task.items]


def answered(problem: Problem) -> Item:
    """A problem that greedy decoding must answer; `tokens`: the share of the answer's tokens that are the most likely
    ones after the right ones before."""
    return Item(
        [(problem.question, f" {problem.answer}")],
        lambda scores: {"right": float(scores[0].greedy), "tokens": scores[0].greedy_share},
    )


def chosen(ways: list[tuple[str, str]]) -> Item:
    """Pairs of context and continuation, of which the first must be the most likely; equals are not. `margin`: by how
    many nats it is."""

    def results(scores: Sequence[Score]) -> dict[str, float]:
        margin = scores[0].logprob - max(score.logprob for score in scores[1:])
        return {"right": float(margin > 0), "margin": margin}

    return Item(ways, results)


def _ways(problem: Problem) -> list[tuple[str, str]]:
    return [(problem.question, f" {answer}") for answer in (problem.answer, *problem.wrong)]


def _pairs(choices: Choices) -> list[tuple[str, str]]:
    context, ways = choices
    return [(context, way) for way in ways]


@dataclass(frozen=True)
class Answers:
    """What a model makes of a task: whether each item is right (bool [items]), and further results of the items
    (float [items] by name)."""

    right: np.ndarray
    others: Mapping[str, np.ndarray]


def ask(llm: LLM, asked: Sequence[Task], kept: Kept) -> None:
    """Keeps what a model makes of the items that are not known. Tasks with the same text before their items share
    passes."""
    for before in dict.fromkeys(task.before for task in asked):
        left = [
            (task, index)
            for task in asked
            if task.before == before
            for index in range(len(task.items))
            if index not in kept.of(task.key)
        ]
        items = [task.items[index] for task, index in left]
        for number, found in item_results(llm, items, range(len(items)), before):
            task, index = left[number]
            kept.add(task.key, index, found)


def answers(asked: Sequence[Task], kept: Kept) -> dict[str, Answers]:
    """What a model made of all items, by the title of the task."""
    return {task.title: _answers([kept.of(task.key)[index] for index in range(len(task.items))]) for task in asked}


def _answers(results: Sequence[Results]) -> Answers:
    first, *others = results[0]
    of_all = {name: np.array([each[name] for each in results]) for name in (first, *others)}
    return Answers(of_all[first] == 1.0, {name: of_all[name] for name in others})
