"""The tasks of a study and their items, and which of a model's answers are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sterna.engine.llm import LLM
from sterna.evaluate.scoring import Question, Score, score_questions
from sterna.study.language import Choices, cloze, generated, next_sentence
from sterna.study.skills import CHANCE, SKILLS, Problem, problems

MATHS, CHOICES, LANGUAGE = "maths", "maths as choices", "language"


@dataclass(frozen=True)
class Task:
    """`kind`: MATHS, CHOICES or LANGUAGE; `chance`: the share that guessing gets right. `pairs` of each item: context
    and continuation, of which the first is right; where there is one, greedy decoding must give it."""

    name: str
    kind: str
    chance: float
    pairs: list[list[tuple[str, str]]]

    def right(self, scores: Sequence[Score]) -> bool:
        """Whether an item with these scores is answered rightly; equals are not."""
        if len(scores) == 1:
            return scores[0].greedy
        return all(scores[0].logprob > score.logprob for score in scores[1:])


def tasks(items: int, seed: int, held_out: Sequence[str]) -> list[Task]:
    """All tasks with at most so many items; `held_out`: texts on which nothing was trained."""
    found = []
    for name in SKILLS:
        asked = problems(name, items, seed)
        chance = CHANCE.get(name, 0.0)
        found.append(Task(name, MATHS, chance, [[(each.question, f" {each.answer}")] for each in asked]))
        found.append(Task(name, CHOICES, max(chance, 0.25), [_choices(each) for each in asked]))
    for name in ("agreement", "gender"):
        found.append(Task(name, LANGUAGE, 0.5, _pairs(generated(name, items, seed))))
    found.append(Task("cloze", LANGUAGE, 0.25, _pairs(cloze(held_out, items, seed))))
    found.append(Task("next sentence", LANGUAGE, 0.25, _pairs(next_sentence(held_out, items, seed))))
    return [task for task in found if task.pairs]


def _choices(problem: Problem) -> list[tuple[str, str]]:
    return [(problem.question, f" {answer}") for answer in (problem.answer, *problem.wrong)]


def _pairs(items: Sequence[Choices]) -> list[list[tuple[str, str]]]:
    return [[(context, way) for way in ways] for context, ways in items]


def answers(llm: LLM, found: Sequence[Task]) -> Mapping[tuple[str, str], np.ndarray]:
    """Which items of each task a model gets right: bool [items] by the task's kind and name."""
    right = {(task.kind, task.name): np.zeros(len(task.pairs), bool) for task in found}
    questions = (Question((task, index), pairs) for task in found for index, pairs in enumerate(task.pairs))
    for (task, index), scores in score_questions(llm, questions):
        right[task.kind, task.name][index] = task.right(scores)
    return right
