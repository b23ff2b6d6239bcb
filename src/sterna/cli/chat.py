"""`sterna chat`: a conversation with a model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from sterna.cli.options import Lora, Model, adapter_scales, complete_model, with_flags
from sterna.cli.output import delayed_progress, report_head
from sterna.cli.texts import argument_text
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from sterna.engine.llm import LLM


@with_flags(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)
def chat(
    *,
    model: Model = None,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="What the model is told before the chat."),
    ] = None,
    lora: Lora = None,
    params: SamplingParams,
    options: EngineOptions,
    stats: Annotated[bool, typer.Option("--stats", help="Say what each answer cost.")] = False,
) -> None:
    """Chat with a model.

    /help lists the commands. Where stdin is no terminal, each of its lines is a message.
    """
    if system is not None:
        system = argument_text(system, "--system", escape=False)
    params = replace(params, stop=tuple(argument_text(stop, "--stop", escape=True) for stop in params.stop))
    adapters = adapter_scales(lora)
    from sterna.chat.session import Session
    from sterna.cli.terminal.loop import chat as run_chat
    from sterna.cli.terminal.loop import print_line

    def load(name: str | None) -> LLM:
        from sterna.engine.llm import LLM

        with delayed_progress("loading"):
            llm = LLM(name, options, adapters={path: path for path in adapters})
        report_head(llm)
        return llm

    session = Session(load, model, params, system, adapters)
    if session.template_notice:
        print_line(session.template_notice)
    run_chat(session, stats, lambda: complete_model(""))
