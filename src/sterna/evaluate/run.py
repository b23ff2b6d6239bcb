"""`sterna eval --tasks`: the items of a task through a model, resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from sterna.engine.adapters import Choice as AdapterChoice
from sterna.engine.llm import LLM
from sterna.errors import ArgumentError, FormatError
from sterna.evaluate.files import read_lines
from sterna.evaluate.scoring import Question, score_questions
from sterna.evaluate.tasks import STOPS, Item, Results, item_of, shape_of, summary
from sterna.files.fingerprint import fingerprint

ANSWER_TOKENS = 256
"""Most tokens of a generated answer."""
TOGETHER = 16
"""Answers that are generated at the same time."""


@dataclass(frozen=True)
class Settings:
    """`limit`: the most items of a task that are scored; None: all. `shots`: how many of a task's first items are
    examples, which stand with their answers before each of the other items and are not scored. `adapter`: as the
    methods of `LLM` take it."""

    limit: int | None = None
    shots: int = 0
    adapter: AdapterChoice = None


def evaluate_task(
    llm: LLM,
    name: str,
    path: Path,
    settings: Settings,
    kept: Kept | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, float]:
    """The metrics of a task (`tasks.summary`). `kept`: where results are kept, and those of an earlier run.

    Raises `FormatError` for a file with lines of no known shape or of several, or without items.
    """
    last = None if settings.limit is None else settings.shots + settings.limit
    items = read_items(path, last)
    if len(items) <= settings.shots:
        raise FormatError(f"{path} has {len(items)} items, of which none is left after {settings.shots} shots.")
    before = "".join(f"{item.shown}\n\n" for item in items[: settings.shots])
    items = items[settings.shots :]
    key = f"{name} {fingerprint(path)}"
    known = {} if kept is None else kept.of(key)
    results: dict[int, Results] = {index: found for index, found in known.items() if index < len(items)}
    left = [index for index in range(len(items)) if index not in results]
    for index, result in item_results(llm, items, left, before, settings.adapter):
        results[index] = result
        if kept is not None:
            kept.add(key, index, result)
        progress(len(results) / len(items))
    return summary([results[index] for index in range(len(items))])


def read_items(path: Path, last: int | None) -> list[Item]:
    """The items of the first lines of a file, all of one shape, because a task has the same metrics for each."""
    lines = list(islice(read_lines(path), last))
    try:
        if len({shape_of(line) for line in lines}) > 1:
            raise FormatError("Its lines have several shapes, and those of a task have one.")
        return [item_of(line) for line in lines]
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def item_results(
    llm: LLM, items: Sequence[Item], left: Sequence[int], before: str, adapter: AdapterChoice = None
) -> Iterator[tuple[int, Results]]:
    """The results of those items whose indices are `left`, in the order in which they end; `before` stands before each
    of them."""
    scored = (
        Question(index, [(before + context, continuation) for context, continuation in items[index].pairs])
        for index in left
        if items[index].prompt is None
    )
    for index, scores in score_questions(llm, scored, adapter):
        yield index, items[index].results(scores)
    written = [(index, prompt) for index in left if (prompt := items[index].prompt) is not None]
    for at in range(0, len(written), TOGETHER):
        some = written[at : at + TOGETHER]
        room = min(ANSWER_TOKENS, llm.context_length // 2)
        prompts = [llm.tokenize(before + prompt)[-(llm.context_length - room) :] for _, prompt in some]
        written_now = llm.complete(prompts, max_tokens=room, temperature=0.0, stop=STOPS, adapter=adapter)
        for (index, _), completion in zip(some, written_now, strict=True):
            yield index, items[index].check(completion.text)


class Kept:
    """The results of a run in a file of JSON lines, from which an interrupted run goes on."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        """Opens the file at `path`, or makes it. Its first line is `identity`: the JSON values on which results depend.

        Raises `ArgumentError` for a file with another identity, or that holds no results.
        """
        self._results: dict[str, dict[int, Results]] = {}
        self._stack = ExitStack()
        self._begin(path, identity)
        self._file: TextIO = self._stack.enter_context(path.open("a", encoding="utf-8"))
        if not path.stat().st_size:
            self._write(identity)

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def of(self, task: str) -> dict[int, Results]:
        """The known results of a task and its items, by item."""
        return self._results.get(task, {})

    def add(self, task: str, index: int, results: Results) -> None:
        """Keeps the results of an item."""
        self._results.setdefault(task, {})[index] = results
        self._write({"task": task, "item": index, "results": dict(results)})

    def _write(self, value: dict[str, Any]) -> None:
        self._file.write(json.dumps(value) + "\n")
        self._file.flush()

    def _begin(self, path: Path, identity: dict[str, Any]) -> None:
        """Reads what is there. A last line that was broken off is cut away."""
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            values = [json.loads(line) for line in whole.splitlines()]
            for value in values[1:]:
                self._results.setdefault(value["task"], {})[int(value["item"])] = dict(value["results"])
        except (ValueError, KeyError, TypeError):
            raise ArgumentError(f"{path} holds no results of tasks; delete it, or name another file.") from None
        if data and values[:1] != [identity]:
            raise ArgumentError(f"{path} holds results of another model or other settings; name another file.")
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
