"""Classes of the verbs' commands, and the sentences for command lines that are wrong."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

from sterna.errors import ArgumentError, suggestion


class Verbs(TyperGroup):
    """The group of all verbs; a verb that does not exist is an `ArgumentError` with the nearest one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and args[0][:1] != "-":
            raise ArgumentError(f"There is no verb '{args[0]}'{suggestion(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        describe_embedded(formatter)


class ModelVerb(TyperCommand):
    """A verb that takes a model. Its help ends with the context of the embedded model."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        describe_embedded(formatter)


def describe_embedded(formatter: Any) -> None:
    """Writes the context of the embedded model, which it reads from the header of its file, at the end of a help."""
    from sterna.files.embedded import EMBEDDED_MODEL, EMBEDDED_NAME
    from sterna.files.gguf import read_gguf  # a checkpoint would import the tokenizer, too

    metadata = read_gguf(EMBEDDED_MODEL).metadata
    context = metadata[f"{metadata['general.architecture']}.context_length"]
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(
            f"{EMBEDDED_NAME}, the embedded model, has a context of {context:,} tokens: prompt and text together."
        )


def is_usage_error(error: BaseException) -> bool:
    """Whether this is typer's error for a wrong command line. The package of its class depends on typer's version, so
    the class cannot be named."""
    return hasattr(error, "format_message") and getattr(error, "exit_code", None) == 2


def usage_sentence(error: Any) -> str:
    """One sentence for a usage error of typer."""
    parameters = error.ctx.command.get_params(error.ctx) if getattr(error, "ctx", None) is not None else []
    options = [parameter for parameter in parameters if parameter.param_type_name == "option"]
    name = getattr(error, "option_name", "")
    flag = next((_label(option) for option in options if name in (*option.opts, *option.secondary_opts)), name)
    parameter = getattr(error, "param", None)
    match type(error).__name__:
        case "NoSuchOption":
            known = sorted({opt for option in options for opt in (*option.opts, *option.secondary_opts)})
            others = f"`{error.ctx.command_path} -h` lists those there are"
            return f"There is no flag {name}{suggestion(name, known, others)}"
        case "MissingParameter" if parameter is not None:
            return f"{error.ctx.command_path} needs {_label(parameter)}."
        case "BadOptionUsage" if "does not take" in error.message:
            return f"{flag} takes no value."
        case "BadOptionUsage":
            return f"{flag} needs a value."
        case "BadParameter" if parameter is not None:
            return f"{_label(parameter)}: {_ended(error.message)}"
    extra = re.search(r"unexpected extra argument\S* \((.*)\)", error.message, re.DOTALL)
    if extra is not None and error.ctx is not None:
        wanted = " ".join(p.human_readable_name for p in parameters if p.param_type_name == "argument")
        hint = "; a prompt is given with -p" if error.ctx.command.name == "run" else ""
        return f"{error.ctx.command_path} takes {wanted or 'no argument'}, and '{extra[1]}' is too much{hint}."
    return _ended(error.format_message())


def _label(parameter: Any) -> str:
    """`-n/--max-tokens`, or the name of an argument."""
    if parameter.param_type_name == "option":
        return "/".join(parameter.opts)
    name: str = parameter.human_readable_name
    return name


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."
