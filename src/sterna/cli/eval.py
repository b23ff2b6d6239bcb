"""`sterna eval`: measures how well a model predicts a text, and how well it does tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from sterna.cli.options import Json, Lora, Model, adapter_scales, value_flag, with_flags
from sterna.cli.output import Advance, print_json, progress, report_head
from sterna.cli.texts import open_file, reading
from sterna.engine.checks import Whole
from sterna.engine.options import EngineOptions
from sterna.errors import ArgumentError
from sterna.files.text import open_text, parts

if TYPE_CHECKING:
    from sterna.evaluate.run import Kept


@with_flags()
def evaluate(
    *,
    text: Annotated[
        Path | None, typer.Option("--text", metavar="FILE", help="Score a UTF-8 text file; -: stdin.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks", metavar="LIST", help="Tasks by name, separated by commas, or a file or folder of JSON lines."
        ),
    ] = None,
    model: Model = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Where the files of tasks lie; default: STERNA_CACHE/eval."),
    ] = None,
    limit: Annotated[
        int | None, value_flag(Whole(1, optional=True), "--limit", help="Most items of each task; default: all.")
    ] = None,
    shots: Annotated[int, value_flag(Whole(0, 64), "--shots", help="Examples with answers before each item.")] = 0,
    fetch: Annotated[
        str | None,
        typer.Option(
            "--fetch", metavar="LIST", help="Bring the data sets of these tasks from the hub, and say their licences."
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="Keep results here; the same command goes on from there."),
    ] = None,
    lora: Lora = None,
    options: EngineOptions,
    json: Json = False,
) -> None:
    """Measure how well a model predicts a text, or does tasks.

    Bits per byte and perplexity of a text file; shares of right answers with their intervals.
    """
    if sum(given is not None for given in (text, tasks, fetch)) != 1:
        raise ArgumentError("Give --text, --tasks or --fetch, one of the three.")
    if fetch is not None:
        if (model, lora, limit, shots, keep, options) != (None, None, None, 0, None, EngineOptions()):
            raise ArgumentError("--fetch brings data and runs no model; of the other flags it takes --data and --json.")
        _fetch(fetch, data, json)
    elif text is not None:
        if (data, limit, shots, keep) != (None, None, 0, None):
            raise ArgumentError("--data, --limit, --shots and --keep go with --tasks.")
        _text(text, model, adapter_scales(lora), options, json)
    elif tasks is not None:
        _tasks(tasks, model, adapter_scales(lora), data, limit, shots, keep, options, json)


def _fetch(names: str, data: Path | None, json: bool) -> None:
    from sterna.evaluate.fetch import fetch
    from sterna.evaluate.files import data_folder
    from sterna.evaluate.sets import set_of

    tasks = names.split(",")
    for name in tasks:
        set_of(name)  # before anything is fetched
    found = []
    for name in tasks:
        with progress(name) as advance:
            found.append(fetch(name, data_folder(data), advance))
        if not json:
            licence = f"licence: {found[-1].licence}" if found[-1].licence else "its page names no licence"
            print(f"{name}: {found[-1].items:,} items of {found[-1].repo} ({licence}) in {found[-1].path}")
    if json:
        print_json({"fetched": [asdict(each) for each in found]})


def _text(text: Path, model: str | None, adapters: dict[str, float], options: EngineOptions, json: bool) -> None:
    with open_file(text) as file:
        from sterna.engine.llm import LLM
        from sterna.evaluate.perplexity import evaluate_tokens, read_tokens

        llm = LLM(model, options, adapters={path: path for path in adapters})
        report_head(llm)
        with progress("reading") as advance, reading(text):
            tokens, text_bytes = read_tokens(llm, read_parts(file, advance))
    with progress("evaluating") as advance:
        score = evaluate_tokens(llm, tokens, text_bytes, advance, adapters)
    if json:
        print_json(asdict(score))
    else:
        print(
            f"{score.bits_per_byte:.4f} bits per byte, perplexity {score.perplexity:.3f} "
            f"over {score.tokens:,} tokens ({score.bytes:,} bytes) in {score.seconds:.1f} s"
        )


def _tasks(
    names: str,
    model: str | None,
    adapters: dict[str, float],
    data: Path | None,
    limit: int | None,
    shots: int,
    keep: Path | None,
    options: EngineOptions,
    json: bool,
) -> None:
    from sterna.evaluate.files import data_folder, find_tasks

    found = list(dict.fromkeys(find_tasks(names, data_folder(data))))
    if len(dict(found)) < len(found):
        raise ArgumentError("--tasks names several files of one name, whose results could not be told apart.")
    from sterna.engine.llm import LLM
    from sterna.evaluate.run import Settings, evaluate_task

    results: dict[str, Any] = {}
    with (
        LLM(model, options, adapters={path: path for path in adapters}) as llm,
        _kept(keep, model, adapters, options, shots) as kept,
    ):
        report_head(llm)
        for name, path in found:
            with progress(name) as advance:
                results[name] = evaluate_task(llm, name, path, Settings(limit, shots, adapters), kept, advance)
            if not json:
                print(_line(name, results[name]))
    if json:
        print_json({"tasks": results})


def _kept(
    keep: Path | None, model: str | None, adapters: dict[str, float], options: EngineOptions, shots: int
) -> AbstractContextManager[Kept | None]:
    """The file of results, or nothing. What is in it depends on the model, its adapters, the numbers that it computes
    with, and the shots."""
    if keep is None:
        return nullcontext()
    from sterna.evaluate.run import Kept
    from sterna.files.embedded import EMBEDDED_NAME
    from sterna.files.fingerprint import fingerprint
    from sterna.files.hub.cache import resolve_model
    from sterna.files.local import as_path

    numbers = [options.ctx, options.kv, options.head, options.activations, options.i2s_layout]
    path = resolve_model(EMBEDDED_NAME if model is None else model)
    identity: dict[str, Any] = {"model": fingerprint(path), "options": numbers, "shots": shots}
    if adapters:
        identity["adapters"] = [[fingerprint(as_path(name)), scale] for name, scale in adapters.items()]
    return Kept(keep, identity)


def _line(name: str, metrics: dict[str, float]) -> str:
    shown = ", ".join(f"{key} {value:.4f}" for key, value in metrics.items() if key not in ("n", "low", "high"))
    return f"{name}: {shown} ({metrics['low']:.4f} to {metrics['high']:.4f}, n = {metrics['n']})"


def read_parts(file: IO[bytes], advance: Advance) -> Iterator[str]:
    """The text of a UTF-8 file in parts of at most 65,536 characters. `advance` gets the share of its bytes read."""
    size = os.fstat(file.fileno()).st_size
    for part in parts(open_text(file)):
        yield part
        advance(min(file.tell() / size, 1.0) if size else 0.0)
