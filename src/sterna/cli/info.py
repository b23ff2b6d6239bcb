"""`sterna info`: prints what a model file holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sterna.cli.options import I2SLayout, Json, Model, with_flags
from sterna.cli.output import console, print_json

if TYPE_CHECKING:
    from sterna.checkpoint.checkpoint import LoadedCheckpoint


@with_flags()
def info(*, model: Model = None, i2s_layout: I2SLayout = "x86", json: Json = False) -> None:
    """Show what a model is made of.

    Architecture, size, share of zeros, tokenizer, chat template, and what is not ternary.
    """
    from sterna.checkpoint import open_checkpoint
    from sterna.errors import ModelWarning
    from sterna.files.embedded import EMBEDDED_MODEL

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint = open_checkpoint(EMBEDDED_MODEL if model is None else model, i2s_layout).load()
        facts = describe(checkpoint)
    facts["warnings"] = [str(warning.message) for warning in caught if issubclass(warning.category, ModelWarning)]
    if json:
        print_json(facts)
    else:
        _print(checkpoint, facts)


def describe(checkpoint: LoadedCheckpoint) -> dict[str, Any]:
    """The object that `sterna info --json` prints; `tokenizer` and `chat_template` are None where a model has none."""
    from sterna.errors import SternaError
    from sterna.model.tokenizer.summary import summarize_tokenizer
    from sterna.tensor.summary import parts, summarize, unpacked

    config, tensors = checkpoint.config, checkpoint.tensors.values()
    try:
        tokenizer = checkpoint.tokenizer()
        template, problem = tokenizer.chat_template, None
        vocabulary: dict[str, Any] | None = summarize_tokenizer(tokenizer)
    except SternaError as error:
        template, vocabulary, problem = None, None, str(error)
    return {
        "architecture": config.architecture,
        **asdict(summarize(tensors)),
        "context_length": config.context_length,
        "vocab_size": config.vocab_size,
        "path": str(checkpoint.path),
        "config": asdict(config),
        "tokenizer": vocabulary,
        "tokenizer_problem": problem,
        "chat_template": template,
        "unpacked": unpacked(tensors),
        "parts": [asdict(part) for part in parts(tensors)],
        "tensors": [
            {"name": t.name, "shape": list(t.shape), "type": t.encoding.value, "bytes": t.data.nbytes} for t in tensors
        ],
    }


def _print(checkpoint: LoadedCheckpoint, facts: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    def plain(text: str) -> Text:
        """Text from a file, in which neither markup nor control characters take effect."""
        return Text("".join(character if character.isprintable() else " " for character in text))

    config = checkpoint.config
    rows = {
        "path": facts["path"],
        "architecture": config.architecture,
        "parameters": f"{facts['parameters']:,}",
        "ternary": f"{facts['ternary_parameters']:,}, {facts['zero_fraction']:.1%} of them zero",
        "size": f"{facts['bytes']:,} bytes, {facts['bits_per_weight']:.2f} bits a weight",
        "shape": f"hidden {config.hidden_size}, ffn {config.intermediate_size}, {config.num_layers} layers, "
        f"{config.num_heads} heads of {config.head_dim}, {config.num_kv_heads} kv heads",
        "context": f"{config.context_length:,} tokens",
        "head": "the embedding" if config.tied_head else "its own",
        "tokenizer": _tokenizer_line(facts),
        "chat template": _template_line(facts["chat_template"]),
    }
    if facts["unpacked"]:
        rows["unpacked"] = _unpacked_line(facts["unpacked"])
    if facts["warnings"]:
        rows["warnings"] = " ".join(facts["warnings"])
    out, grid = console(), Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(name, plain(value))
    out.print(grid)
    table = Table("part", "tensors", "parameters", "type", "bytes", "ternary")
    for part in facts["parts"]:
        numbers = f"{part['tensors']:,}", f"{part['parameters']:,}", part["type"], f"{part['bytes']:,}"
        table.add_row(plain(part["name"]), *numbers, "yes" if part["ternary"] else "no")
    out.print(table)


def _unpacked_line(counts: Mapping[str, int]) -> str:
    """What the float matrices that hold ternary weights are, and how they get small."""
    most = max(counts, key=lambda name: counts[name])
    return (
        f"{sum(counts.values())} float matrices are ternary or binary (exactly {' or '.join(counts)}): "
        f"sterna convert --type {most} --head {most} makes them small"
    )


def _tokenizer_line(facts: dict[str, Any]) -> str:
    tokenizer = facts["tokenizer"]
    if tokenizer is None:
        return f"none that can be used: {facts['tokenizer_problem']}"
    pre = f" ({tokenizer['pre']})" if tokenizer["pre"] else ""
    begin = f"begins with {tokenizer['bos']}" if tokenizer["add_bos"] else "begins with no token"
    return (
        f"{tokenizer['type']}{pre}, {tokenizer['vocab_size']:,} tokens, {tokenizer['special_tokens']} of them special; "
        f"{begin}, ends with {', '.join(tokenizer['eos']) or 'none'}"
    )


def _template_line(template: str | None) -> str:
    if template is None:
        return "none; a plain one is used"
    first = " ".join(template.strip().splitlines()[:1])
    return f"{len(template):,} characters: {first[:70]}{'...' if len(first) > 70 or len(template) > 70 else ''}"
