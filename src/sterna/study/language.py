"""Tasks of language: choices between texts of which one is right, generated or cut from text that no model has seen."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence

Choices = tuple[str, list[str]]
"""A beginning and ways to go on, of which the first is right; an empty beginning: whole texts."""

NOUNS = [
    *(("man", "men"), ("woman", "women"), ("boy", "boys"), ("girl", "girls"), ("child", "children")),
    *(("friend", "friends"), ("house", "houses"), ("tree", "trees"), ("letter", "letters"), ("horse", "horses")),
    *(("ship", "ships"), ("window", "windows"), ("door", "doors"), ("servant", "servants"), ("lady", "ladies")),
]
VERBS = [("is", "are"), ("was", "were"), ("has", "have"), ("does not", "do not")]
BETWEEN = ["near", "behind", "beside", "with"]
MEN = ["man", "boy", "king", "father", "brother", "gentleman", "husband", "uncle", "son", "lord"]
WOMEN = ["woman", "girl", "queen", "mother", "sister", "lady", "wife", "aunt", "daughter", "widow"]
SAYINGS = ["said that", "knew that", "thought that", "hoped that", "felt that"]
_SENTENCE = re.compile(r"[A-Z][^.!?\n]{30,160}[.!?]")
_WORD = re.compile(r"[a-z]{4,}")


def agreement(rng: random.Random) -> Choices:
    """A verb agrees with its subject, across up to two other nouns of the other number."""
    noun, verb, plural = rng.choice(NOUNS), rng.choice(VERBS), rng.random() < 0.5
    text = f"The {noun[plural]}"
    for _ in range(rng.randrange(3)):
        text += f" {rng.choice(BETWEEN)} the {rng.choice(NOUNS)[not plural]}"
    return text, [f" {verb[plural]}", f" {verb[not plural]}"]


def gender(rng: random.Random) -> Choices:
    """A pronoun agrees with the person that it stands for."""
    is_woman = rng.random() < 0.5
    person = rng.choice(WOMEN if is_woman else MEN)
    adjective = rng.choice(["old", "young", "good", "poor", "little"])
    return f"The {adjective} {person} {rng.choice(SAYINGS)}", [" she", " he"] if is_woman else [" he", " she"]


def generated(draw: str, count: int, seed: int) -> list[Choices]:
    """Different items of `agreement` or `gender`, as many as there are up to `count`."""
    rng, found = random.Random(f"{seed} {draw}"), dict[str, Choices]()
    for _ in range(20 * count):
        item = {"agreement": agreement, "gender": gender}[draw](rng)
        found.setdefault(item[0] + item[1][0], item)
        if len(found) == count:
            break
    return list(found.values())


def cloze(texts: Sequence[str], count: int, seed: int) -> list[Choices]:
    """The last word of a sentence among four that are about equally frequent in these texts."""
    rng = random.Random(f"{seed} cloze")
    frequency = Counter(word for text in texts for word in _WORD.findall(text))
    common = [word for word, times in frequency.most_common() if times >= 3]
    place = {word: rank for rank, word in enumerate(common)}
    items: list[Choices] = []
    for sentence in _sentences(texts, rng):
        beginning, _, word = sentence.rstrip(".!?").rpartition(" ")
        if word in place and len(items) < count:
            near = common[max(0, place[word] - 20) : place[word] + 21]
            others = [other for other in near if other != word]
            if len(others) >= 3:
                items.append((beginning, [f" {word}", *(f" {other}" for other in rng.sample(others, 3))]))
    return items


def next_sentence(texts: Sequence[str], count: int, seed: int) -> list[Choices]:
    """The sentence that follows, among four of the same text."""
    rng = random.Random(f"{seed} next")
    items: list[Choices] = []
    for text in texts:
        found = list(_SENTENCE.finditer(text))
        for first, second in zip(found[::2], found[1::2], strict=False):
            others = [other.group() for other in found if other not in (first, second)]
            if text[first.end() : second.start()] == " " and len(others) >= 3:
                items.append((first.group(), [f" {each}" for each in (second.group(), *rng.sample(others, 3))]))
    rng.shuffle(items)
    return items[:count]


def _sentences(texts: Sequence[str], rng: random.Random) -> list[str]:
    found = [match.group() for text in texts for match in _SENTENCE.finditer(text)]
    rng.shuffle(found)
    return found
