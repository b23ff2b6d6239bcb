"""A model for `map_batches` of Ray Data, and of whatever else hands over tables piece by piece."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from sterna.batch.answerer import Answerer
from sterna.batch.lines import RawLine, entries
from sterna.batch.source import row_json
from sterna.engine.llm import LLM
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError
from sterna.files.embedded import EMBEDDED_NAME
from sterna.files.hub.cache import resolve_model
from sterna.files.local import model_name

PLAIN = SamplingParams(max_tokens=256)
"""How plain rows are answered where neither they nor the caller say how."""


def open_answerer(
    model: str | os.PathLike[str] | None, seed: int, params: SamplingParams, options: EngineOptions | None
) -> Answerer:
    """A model that is loaded to answer lines. Raises as `LLM`."""
    name = EMBEDDED_NAME if model is None else os.fspath(model)
    path = resolve_model(name)
    return Answerer(LLM(path, options), model_name(name, path), seed, params)


class Worker:
    """Answers the rows of a table: `dataset.map_batches(Worker, fn_constructor_args=["model.gguf"], ...)`.

    One worker loads one model, so a machine needs one. A row's seed comes from what the row holds.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
        params: SamplingParams = PLAIN,
        **options: Any,
    ) -> None:
        """`model`: as `LLM` takes it; `params`: for rows that do not say otherwise; `options`: those of `LLM`, by name.
        Raises as `LLM`."""
        self._answerer = open_answerer(model, seed, params, EngineOptions(**options))

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The columns of a batch and those of the answers: `generated_text`, `finish_reason`, `prompt_tokens`,
        `completion_tokens`, ... and `error`, a sentence where a row has no answer.

        `batch` has a column `prompt` or `messages`; others may be options of a request (docs/batch.md). Raises
        ArgumentError for columns that are not equally long.
        """
        columns = {name: list(values) for name, values in batch.items()}
        if len({len(values) for values in columns.values()}) > 1:
            raise ArgumentError("The columns of a batch are equally long.")
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        texts = [row_json(row) for row in rows]
        # Rows that are equal get equal answers, wherever they are; the number is only for the seed.
        asked = [RawLine(int.from_bytes(blake2b(text, digest_size=6).digest(), "big"), text) for text in texts]
        keys = {}
        unique = {raw.data: raw for raw in asked}
        answers: dict[str, dict[str, Any]] = {}
        for entry in (known := list(entries(unique.values(), "worker"))):
            keys[entry.raw.data] = entry.key
        for outcome in self._answerer.outcomes(known):
            told = json.loads(outcome.data)
            answers[outcome.key] = {"error": told["error"]["message"]} if outcome.failed else {"error": None, **told}
        gained = [answers[keys[text]] for text in texts]
        names = {name: None for row in gained for name in row if name not in columns}
        return columns | {name: [row.get(name) for row in gained] for name in names}
