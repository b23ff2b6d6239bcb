"""Data sets of the hub that tasks are made of, and their rows as lines of a task (`tasks.py`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sterna.errors import NotFoundError
from sterna.evaluate.tasks import ANSWER
from sterna.files.hf_files import is_inside

Row = Mapping[str, Any]
Line = dict[str, Any]


@dataclass(frozen=True)
class DataSet:
    """A split of one configuration of the data set `repo`, or of all of them where `config` is None. `line` makes the
    line of a task of a row; prompts are those of lm-eval 0.4.13, for MMLU without its sentence about the subject."""

    repo: str
    config: str | None
    split: str
    line: Callable[[Row], Line]

    def is_part(self, path: str) -> bool:
        """Whether a file of the branch that the hub converts to Parquet, CONFIG/SPLIT/NUMBER.parquet, belongs to it."""
        config = r"[\w.-]+" if self.config is None else re.escape(self.config)
        return is_inside(path) and re.fullmatch(rf"{config}/{self.split}/\d+\.parquet", path, re.ASCII) is not None


def _arc(row: Row) -> Line:
    return _labelled(f"Question: {row['question']}", row)


def _openbook(row: Row) -> Line:
    return _labelled(row["question_stem"], row)


def _labelled(query: str, row: Row) -> Line:
    choices = row["choices"]
    return {"query": query, "choices": choices["text"], "gold": choices["label"].index(row["answerKey"].strip())}


def _piqa(row: Row) -> Line:
    return {"query": f"Question: {row['goal']}", "choices": [row["sol1"], row["sol2"]], "gold": int(row["label"])}


def _boolq(row: Row) -> Line:
    query = f"{row['passage']}\nQuestion: {row['question']}?{ANSWER}"
    return {"query": query, "choices": ["no", "yes"], "gold": int(row["label"])}


def _copa(row: Row) -> Line:
    connector = {"cause": "because", "effect": "therefore"}[row["question"]]
    choices = [row[name][0].lower() + row[name][1:] for name in ("choice1", "choice2")]
    return {"query": f"{row['premise'].strip()[:-1]} {connector}", "choices": choices, "gold": int(row["label"])}


def _winogrande(row: Row) -> Line:
    before, blank, after = row["sentence"].partition("_")
    if not blank:
        raise ValueError("a sentence has no blank")
    options = [before + row[name] for name in ("option1", "option2")]
    return {"context_options": options, "continuation": after.strip(), "gold": int(row["answer"]) - 1}


CAPITAL_WORDS = ("A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their")
POSSESSIVE = ("my", "his", "her", "our", "their")


def _winograd(row: Row) -> Line:
    text, at, pronoun = row["text"].replace("  ", " "), row["pronoun_loc"], row["pronoun"]

    def option(words: str) -> str:
        """In the place of the pronoun: its case where it possesses something, and small inside a sentence."""
        words += "'s" if pronoun.lower() in POSSESSIVE else ""
        first = words.split()[0]
        inside = text[at - 2] != "." and first in CAPITAL_WORDS
        return words.replace(first, first.lower()) if inside else words

    options = [text[:at] + option(words) for words in row["options"]]
    return {"context_options": options, "continuation": text[at + len(pronoun) :].strip(), "gold": int(row["label"])}


def _lambada(row: Row) -> Line:
    context, _, word = row["text"].rpartition(" ")
    return {"context": context, "continuation": word}


def _gsm8k(row: Row) -> Line:
    thoughts, _, answer = row["answer"].partition("####")
    return {"context": row["question"], "chain_of_thought": thoughts.strip(), "answer": answer.strip()}


def _mmlu(row: Row) -> Line:
    choices = dict(zip("ABCD", row["choices"], strict=True))
    return {"question": row["question"], **choices, "letter": "ABCD"[row["answer"]], "subject": row["subject"]}


def _hellaswag(row: Row) -> Line:
    def cleaned(text: str) -> str:
        """Without the marks that WikiHow's texts have in brackets."""
        return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")

    query = cleaned(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
    return {"query": query, "choices": [cleaned(ending) for ending in row["endings"]], "gold": int(row["label"])}


def _blimp(row: Row) -> Line:
    return {name: row[name] for name in ("sentence_good", "sentence_bad")}


SETS = {
    "arc_easy": DataSet("allenai/ai2_arc", "ARC-Easy", "test", _arc),
    "arc_challenge": DataSet("allenai/ai2_arc", "ARC-Challenge", "test", _arc),
    "piqa": DataSet("baber/piqa", "default", "validation", _piqa),
    "winogrande": DataSet("allenai/winogrande", "winogrande_xl", "validation", _winogrande),
    "openbookqa": DataSet("allenai/openbookqa", "main", "test", _openbook),
    "boolq": DataSet("aps/super_glue", "boolq", "validation", _boolq),
    "lambada_openai": DataSet("EleutherAI/lambada_openai", "default", "test", _lambada),
    "copa": DataSet("aps/super_glue", "copa", "validation", _copa),
    "wsc273": DataSet("lighteval/winograd_wsc", "wsc273", "test", _winograd),
    "mmlu": DataSet("cais/mmlu", "all", "test", _mmlu),
    "gsm8k": DataSet("openai/gsm8k", "main", "test", _gsm8k),
    "hellaswag": DataSet("Rowan/hellaswag", "default", "validation", _hellaswag),
    "blimp": DataSet("nyu-mll/blimp", None, "train", _blimp),
}
"""By the name of the task."""


def set_of(name: str) -> DataSet:
    """The data set of a task. Raises NotFoundError where none is known."""
    found = SETS.get(name)
    if found is None:
        raise NotFoundError(f"No data set is known for the task '{name}'; there are {', '.join(SETS)}.")
    return found
