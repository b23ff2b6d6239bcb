"""Generated problems of arithmetic, logic and copying. What is asked in a test never stands in the training text.

Digits stand apart, because the tokenizer of `sterna train` joins up to three: so every digit is one token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

HELD_OUT = 8
"""One problem of so many is kept for the test."""
LETTERS = "abcdefghijklmnopqrst"
PAIRS = {"(": ")", "[": "]"}
PEOPLE = ["anna", "arthur", "clara", "edward", "emma", "george", "henry", "jane", "lucy", "walter"]
PLACES = ["attic", "barn", "cellar", "church", "garden", "hall", "kitchen", "library", "mill", "stable"]


@dataclass(frozen=True)
class Problem:
    """A question, its answer, and three wrong answers of the same form."""

    question: str
    answer: str
    wrong: tuple[str, str, str]


Draw = Callable[[random.Random], tuple[str, str, Callable[[], str]]]
"""Gives a question, its answer, and what draws answers that may be wrong."""


def spaced(number: int) -> str:
    """A number with a blank between its digits."""
    return " ".join(str(number)).replace("- ", "-")


def addition(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """Two numbers of up to two digits."""
    a, b = rng.randrange(100), rng.randrange(100)
    return f"{spaced(a)} + {spaced(b)} =", spaced(a + b), lambda: spaced(max(0, a + b + rng.choice((-10, -1, 1, 10))))


def subtraction(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """A number of two digits less a smaller one."""
    b, a = sorted((rng.randrange(100), rng.randrange(100)))
    return f"{spaced(a)} - {spaced(b)} =", spaced(a - b), lambda: spaced(max(0, a - b + rng.choice((-10, -1, 1, 10))))


def running_sum(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """The sum, modulo 10, of three to five digits."""
    digits = [rng.randrange(10) for _ in range(rng.randint(3, 5))]
    return f"sum {' '.join(map(str, digits))} :", str(sum(digits) % 10), lambda: str(rng.randrange(10))


def chain(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """A value that is handed on from name to name, one to three times."""
    names = rng.sample(LETTERS, rng.randint(2, 4))
    value = rng.randrange(10)
    steps = [f"{names[0]} = {value}", *(f"{later} = {name}" for name, later in zip(names, names[1:], strict=False))]
    return f"{' ; '.join(steps)} ; {names[-1]} =", str(value), lambda: str(rng.randrange(10))


def boolean(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """An expression of truth values in brackets, two or three deep. There is one wrong truth value, so "and" and "or"
    are wrong answers too."""
    text, value = _expression(rng, rng.randint(2, 3))
    words = [str(not value), "and", "or"]
    return f"logic {text} is", str(value), lambda: rng.choice(words)


def _expression(rng: random.Random, depth: int) -> tuple[str, bool]:
    """An expression that is so many brackets deep on at least one of its sides, and its value."""
    value = rng.random() < 0.5
    if depth == 0:
        return str(value), value
    sides = [_expression(rng, depth - 1), _expression(rng, rng.randrange(depth))]
    (left, a), (right, b) = rng.sample(sides, 2)
    return (f"( {left} and {right} )", a and b) if value else (f"( {left} or {right} )", a or b)


def brackets(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """What closes open brackets of two kinds, up to four deep, with closed ones between them (Dyck-2)."""
    opened = [rng.choice("([") for _ in range(rng.randint(2, 4))]
    text = ""
    for bracket in opened:
        text += f" {bracket}"
        for inner in rng.choices("([", k=rng.randrange(3)):
            text += f" {inner} {PAIRS[inner]}"
    answer = " ".join(PAIRS[bracket] for bracket in reversed(opened))
    return f"close{text} :", answer, lambda: " ".join(rng.choice(")]") for _ in opened)


def sorting(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """Four digits in order."""
    digits = [str(rng.randrange(10)) for _ in range(4)]
    return f"sort {' '.join(digits)} :", " ".join(sorted(digits)), lambda: " ".join(rng.sample(digits, 4))


def copying(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """Six letters once more: memory, which is no mathematics."""
    letters = [rng.choice(LETTERS) for _ in range(6)]
    return f"copy {' '.join(letters)} :", " ".join(letters), lambda: " ".join(rng.sample(letters, 6))


def reversal(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """Five letters backwards."""
    letters = [rng.choice(LETTERS) for _ in range(5)]
    return f"back {' '.join(letters)} :", " ".join(reversed(letters)), lambda: " ".join(rng.sample(letters, 5))


def story(rng: random.Random) -> tuple[str, str, Callable[[], str]]:
    """Where one of four people is, of whom each is somewhere else."""
    people, places = rng.sample(PEOPLE, 4), rng.sample(PLACES, 4)
    asked = rng.randrange(4)
    facts = " ".join(f"{who} is in the {place} ." for who, place in zip(people, places, strict=True))
    return f"{facts} where is {people[asked]} ? in the", places[asked], lambda: rng.choice(places)


@dataclass(frozen=True)
class Skill:
    """`draw` gives problems; `chance` is the share of answers that guessing gets right, where few are possible.
    `commutes`: the order in which a question names its numbers changes nothing, so that order does not decide whether
    it belongs to the test."""

    draw: Draw
    chance: float = 0.0
    commutes: bool = False

    def is_held_out(self, question: str) -> bool:
        """Whether a question belongs to the test: by a hash of it, so what is asked there is in no line of training."""
        words = sorted(question.split()) if self.commutes else question.split()
        return crc32(" ".join(words).encode()) % HELD_OUT == 0


SKILLS = {
    "addition": Skill(addition, commutes=True),
    "subtraction": Skill(subtraction),
    "running_sum": Skill(running_sum, chance=0.1, commutes=True),
    "chain": Skill(chain, chance=0.1),
    "boolean": Skill(boolean, chance=0.5),
    "brackets": Skill(brackets),
    "sorting": Skill(sorting, commutes=True),
    "copying": Skill(copying),
    "reversal": Skill(reversal),
    "story": Skill(story, chance=0.25),
}


def training_lines(seed: int, names: Sequence[str] = tuple(SKILLS)) -> Iterator[str]:
    """Solved problems without end, of each skill in turn."""
    rng = random.Random(seed)
    while True:
        for name in names:
            question, answer, _ = SKILLS[name].draw(rng)
            if not SKILLS[name].is_held_out(question):
                yield f"{question} {answer}\n"


def problems(name: str, count: int, seed: int) -> list[Problem]:
    """Different problems of the test."""
    rng, found = random.Random(f"{seed} {name}"), dict[str, Problem]()
    for _ in range(1000 * count):
        if len(found) == count:
            break
        question, answer, wrong = SKILLS[name].draw(rng)
        if SKILLS[name].is_held_out(question) and question not in found:
            others = _wrong(answer, wrong)
            if others is not None:
                found[question] = Problem(question, answer, others)
    return list(found.values())


def _wrong(answer: str, draw: Callable[[], str]) -> tuple[str, str, str] | None:
    """Three different answers that are wrong; None where there are not so many."""
    found: dict[str, None] = {}
    for _ in range(100):
        other = draw()
        if other != answer:
            found[other] = None
        if len(found) == 3:
            first, second, third = found
            return first, second, third
    return None
