"""`sterna run`: completes a prompt and prints the text as it comes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterna.cli.options import Json, Lora, Model, adapter_scales, with_flags
from sterna.cli.output import delayed_progress, print_json, report_head
from sterna.cli.streams import say, write_text
from sterna.cli.texts import argument_text, read_prompt, read_text
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from sterna.engine.generation import Completion
    from sterna.engine.llm import LLM


@with_flags(max_tokens=256, temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
def run(
    *,
    model: Model = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", metavar="TEXT", help="The text to continue.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", metavar="FILE", help="A file that holds the prompt; -: stdin."),
    ] = None,
    escape: Annotated[
        bool,
        typer.Option(
            "-e",
            "--escape/--no-escape",
            help="Whether escapes in -p and --stop, such as \\n and \\t, mean what they mean in C; default: yes.",
            show_default=False,
        ),
    ] = True,
    json_schema: Annotated[
        Path | None,
        typer.Option("--json-schema", metavar="FILE", help="A JSON schema that the text follows; -: stdin."),
    ] = None,
    grammar: Annotated[
        Path | None,
        typer.Option("--grammar", metavar="FILE", help="A grammar that the text follows, in GBNF or Lark."),
    ] = None,
    lora: Lora = None,
    params: SamplingParams,
    options: EngineOptions,
    json: Json = False,
    stats: Annotated[bool, typer.Option("--stats", help="Speeds on stderr at the end.")] = False,
) -> None:
    """Continue a prompt.

    The prompt comes from -p, from a file or from stdin. Only the continuation is printed.
    """
    text = read_prompt(prompt, file, escape)
    params = replace(params, stop=tuple(argument_text(stop, "--stop", escape) for stop in params.stop))
    form = {
        name: read_text(path) for name, path in (("json_schema", json_schema), ("grammar", grammar)) if path is not None
    }
    adapters = adapter_scales(lora)
    from sterna.engine.llm import LLM

    with delayed_progress("loading"):
        llm = LLM(model, options, adapters={path: path for path in adapters})
    report_head(llm)
    completion = write(llm, text, params, {**form, "adapter": adapters}, silent=json)
    if json:
        print_json(asdict(completion))
    if fills_context(llm, params, completion):
        most = llm.checkpoint.config.context_length
        hint = f"--ctx takes up to {most}" if most > llm.context_length else "this model has no more"
        say(f"The context of {llm.context_length} tokens is full; {hint}.")
    if stats:
        drafted = (
            f"{completion.accepted_tokens} of {completion.draft_tokens} drafted tokens right; " if params.lookup else ""
        )
        say(
            f"{completion.prompt_tokens} prompt tokens at {completion.prefill_tps:.1f}/s, "
            f"{completion.completion_tokens} generated at {completion.decode_tps:.1f}/s, "
            f"ended by {completion.stop_reason}; {drafted}{llm.where}"
        )


def write(llm: LLM, text: str, params: SamplingParams, how: dict[str, Any], silent: bool) -> Completion:
    """Prints the continuation as it comes, unless `silent`, and returns it. `how`: the form that the text follows and
    the adapters, by their names in `LLM.generation`."""
    with delayed_progress("reading the prompt") as advance:
        stream = llm.stream_completion(text, params, progress=advance, **how)
        piece, completion = next(stream)
    try:
        while True:
            if not silent:
                write_text(piece)
            if completion is not None:
                return completion
            piece, completion = next(stream)
    finally:
        if not silent:
            print()


def fills_context(llm: LLM, params: SamplingParams, completion: Completion) -> bool:
    """Whether the text ended because the context is full, and not at `max_tokens`."""
    full = completion.prompt_tokens + completion.completion_tokens >= llm.context_length
    return completion.stop_reason == "length" and full and completion.completion_tokens != params.max_tokens
