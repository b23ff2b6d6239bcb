"""`sterna run`: complete a prompt and write the text as it comes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import (
    Context,
    Head,
    I2SLayout,
    Json,
    Kv,
    Model,
    Threads,
    as_text,
    print_json,
    read_text,
    report_head,
)
from sterna.errors import ArgumentError


def run(
    model: Model = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="The text to continue.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="A file that holds the prompt.")] = None,
    max_tokens: Annotated[int, typer.Option("-n", "--max-tokens", help="Most tokens to generate.")] = 256,
    ctx: Context = None,
    threads: Threads = None,
    i2s_layout: I2SLayout = "x86",
    head: Head = "full",
    temperature: Annotated[float, typer.Option("--temp", help="0 takes the most likely token.")] = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", help="Only the K most likely; 0 is off.")] = 40,
    top_p: Annotated[float, typer.Option("--top-p", help="Only the most likely that make up P; 1 is off.")] = 0.95,
    min_p: Annotated[float, typer.Option("--min-p", help="Only those with P of the best one's chance.")] = 0.05,
    repetition_penalty: Annotated[float, typer.Option("--repeat-penalty", help="1 is off.")] = 1.0,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The same seed gives the same text; default: random.")
    ] = None,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End before this string; may be repeated.")] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on past the end of text.")] = False,
    kv: Kv = "f16",
    lookup: Annotated[
        int, typer.Option("--lookup", help="Most tokens to draft a pass from earlier text, same text; 0 is off.")
    ] = 0,
    json: Json = False,
    stats: Annotated[bool, typer.Option("--stats", help="Speeds on stderr at the end.")] = False,
) -> None:
    """Complete a prompt: from -p, from a file, or from stdin."""
    text = read_prompt(prompt, file)
    from sterna.engine.llm import LLM

    llm = LLM(model, threads=threads, ctx=ctx, i2s_layout=i2s_layout, kv=kv, head=head)
    report_head(llm, head)
    stream = llm.stream_completion(
        text,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop,
        ignore_eos=ignore_eos,
        lookup=lookup,
    )
    for piece, result in stream:
        if not json:
            print(piece, end="", flush=True)
        if result is not None:
            completion = result
    if json:
        print_json(asdict(completion))
    else:
        print()
    if stats:
        drafted = f"{completion.accepted_tokens} of {completion.draft_tokens} drafted tokens right; " if lookup else ""
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
    return as_text(sys.stdin.buffer.read(), "stdin")
