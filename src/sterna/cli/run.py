"""`sterna run`: completes a prompt and prints the text as it comes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import Json, Model, with_flags
from sterna.cli.output import MAX_PROMPT_BYTES, as_text, print_json, read_text, report_head
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError


@with_flags(max_tokens=256, temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
def run(
    *,
    model: Model = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="The text to continue.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A file that holds the prompt.")] = None,
    params: SamplingParams,
    options: EngineOptions,
    json: Json = False,
    stats: Annotated[bool, typer.Option("--stats", help="Speeds on stderr at the end.")] = False,
) -> None:
    """Complete a prompt: from -p, from a file, or from stdin."""
    text = read_prompt(prompt, file)
    from sterna.engine.llm import LLM

    llm = LLM(model, options)
    report_head(llm)
    try:
        for piece, result in llm.stream_completion(text, params):
            if not json:
                print(piece, end="", flush=True)
            if result is not None:
                completion = result
    except KeyboardInterrupt:
        if not json:
            print()
        raise
    if json:
        print_json(asdict(completion))
    else:
        print()
    if stats:
        drafted = (
            f"{completion.accepted_tokens} of {completion.draft_tokens} drafted tokens right; " if params.lookup else ""
        )
        print(
            f"{completion.prompt_tokens} prompt tokens at {completion.prefill_tps:.1f}/s, "
            f"{completion.completion_tokens} generated at {completion.decode_tps:.1f}/s, "
            f"ended by {completion.stop_reason}; {drafted}{llm.threads} threads, {llm.isa}",
            file=sys.stderr,
        )


def read_prompt(prompt: str | None, file: Path | None) -> str:
    """The prompt from wherever it was given. Raises `ArgumentError` where it was given twice or not at all."""
    if prompt is not None and file is not None:
        raise ArgumentError("Give the prompt with -p or with -f, not with both.")
    if prompt is not None:
        return prompt
    if file is not None:
        return read_text(file)
    if sys.stdin is None or sys.stdin.isatty():
        raise ArgumentError("There is no prompt: give one with -p TEXT, -f FILE or on stdin.")
    return as_text(sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1), "stdin")
