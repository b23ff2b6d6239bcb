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
_TWO_WORDS = re.compile(r"\b(?=(\w+) ([a-z]{4,})\b([.,;:!?]?))")
ENDINGS = ("ing", "ed", "ly", "s")
BEFORE = {
    "determiner": "the a an this that these those my your his her its our their no some any every each",
    "infinitive": "to will would shall should can could may might must",
    "subject": "i he she it we they you who",
    "auxiliary": "is was are were be been being am has have had",
    "degree": "very so too more most quite as how",
    "preposition": "of in on at by for with from into upon",
}
"""Words that tell something of the part of speech of the word after them."""
_KIND = {word: kind for kind, words in BEFORE.items() for word in words.split()}


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
    """The last word of a sentence among four of one class (`word_classes`) whose frequencies in these texts differ by a
    factor of two at most."""
    rng = random.Random(f"{seed} cloze")
    frequency = Counter(word for text in texts for word in _WORD.findall(text))
    of_word = word_classes(texts)
    members: dict[WordClass, list[str]] = {}
    for word, times in frequency.items():
        if times >= 3 and word in of_word:
            members.setdefault(of_word[word], []).append(word)
    items: list[Choices] = []
    for sentence in _sentences(texts, rng):
        if len(items) == count:
            break
        beginning, _, word = sentence.rstrip(".!?").rpartition(" ")
        others = [
            other
            for other in members.get(of_word.get(word, NO_CLASS), ())
            if other != word and frequency[word] <= 2 * frequency[other] <= 4 * frequency[word]
        ]
        if frequency[word] >= 3 and len(others) >= 3:
            items.append((beginning, [f" {word}", *(f" {other}" for other in rng.sample(others, 3))]))
    return items


WordClass = tuple[str, str, bool]
"""How words end, which kind of word stands before them most often, and whether they often end a clause."""
NO_CLASS = ("", "", False)
OFTEN = 0.25


def word_classes(texts: Sequence[str]) -> dict[str, WordClass]:
    """The class of each word, which stands for its part of speech. Words that follow none of the kinds of `BEFORE` have
    no class."""
    kinds: dict[str, Counter[str]] = {}
    times, ends = Counter[str](), Counter[str]()
    for text in texts:
        for first, word, stop in _TWO_WORDS.findall(text):
            times[word] += 1
            ends[word] += bool(stop)
            kind = _KIND.get(first.lower())
            if kind is not None:
                kinds.setdefault(word, Counter())[kind] += 1
    return {
        word: (_ending(word), before.most_common(1)[0][0], ends[word] >= OFTEN * times[word])
        for word, before in kinds.items()
    }


def _ending(word: str) -> str:
    return next((ending for ending in ENDINGS if word.endswith(ending)), "")


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
