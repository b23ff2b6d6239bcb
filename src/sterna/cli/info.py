"""`sterna info`: what a model file holds."""

from __future__ import annotations

from dataclasses import asdict

from sterna.cli.options import I2SLayout, Json, Model, print_json


def info(model: Model = None, i2s_layout: I2SLayout = "x86", json: Json = False) -> None:
    """Architecture, size, share of zeros and every tensor of a model."""
    from sterna.checkpoint import open_checkpoint
    from sterna.checkpoint.summary import summarize
    from sterna.engine.llm import EMBEDDED_MODEL

    checkpoint = open_checkpoint(EMBEDDED_MODEL if model is None else model, i2s_layout)
    config = checkpoint.config
    summary = summarize(checkpoint.tensors.values())
    if json:
        tensors = [
            {"name": t.name, "shape": list(t.shape), "type": t.encoding.value, "bytes": t.data.nbytes}
            for t in checkpoint.tensors.values()
        ]
        shape = {"context_length": config.context_length, "vocab_size": config.vocab_size}
        print_json({"architecture": config.architecture, **asdict(summary), **shape, "tensors": tensors})
        return

    from rich.console import Console
    from rich.table import Table

    console = Console()
    facts = Table.grid(padding=(0, 2))
    for name, value in {
        "architecture": config.architecture,
        "parameters": f"{summary.parameters:,}",
        "ternary": f"{summary.ternary_parameters:,}, {summary.zero_fraction:.1%} of them zero",
        "size": f"{summary.bytes:,} bytes, {summary.bits_per_weight:.2f} bits a weight",
        "shape": f"hidden {config.hidden_size}, ffn {config.intermediate_size}, {config.num_layers} layers, "
        f"{config.num_heads} heads of {config.head_dim}, {config.num_kv_heads} kv heads",
        "context": f"{config.context_length:,} tokens",
        "vocabulary": f"{config.vocab_size:,} tokens, {'tied' if config.tied_head else 'own'} head",
    }.items():
        facts.add_row(name, value)
    console.print(facts)
    table = Table("tensor", "shape", "type", "bytes")
    for t in checkpoint.tensors.values():
        table.add_row(t.name, " × ".join(map(str, t.shape)), t.encoding.value, f"{t.data.nbytes:,}")
    console.print(table)
