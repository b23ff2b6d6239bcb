"""`sterna convert`: converts a model to another file format or encoding."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sterna.cli.options import I2SLayout, Json, adapter_scales, value_flag
from sterna.cli.output import print_json, progress
from sterna.engine.checks import Number, OneOf, Whole
from sterna.errors import ArgumentError
from sterna.server.units import Size


def convert(
    src: Annotated[
        str, typer.Argument(metavar="SRC", help="A GGUF file (or its first part), a folder, or a training checkpoint.")
    ],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="NAME.gguf, or the name of a Hugging Face folder.")],
    type: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="Of the layers' matrices: i2_s, tq1_0, tq2_0, q2_0, pq2_0, ptq1_0, q1_0, f16, bf16, f32, q8_0, q6_k, "
            "q5_k, q4_k, iq4_nl, q4_0; default: as they are.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option("--head", help="Encoding of the output matrix (and of an embedding tied to it).")
    ] = None,
    embd: Annotated[str | None, typer.Option("--embd", help="Encoding of an embedding that is no head.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where rows do not fill the blocks of a type.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read back and compare with SRC.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace DST.")] = False,
    split_size: Annotated[
        int | None, value_flag(Size(), "--split-size", help="GGUF in parts of at most SIZE, such as 4G.")
    ] = None,
    i2s_layout: I2SLayout = "x86",
    tl_tiles: Annotated[
        str,
        value_flag(
            OneOf("preset", "setup"),
            "--tl-tiles",
            help="Tiles of a TL1 file: preset (of bitnet.cpp), or setup (its setup_env.py).",
        ),
    ] = "preset",
    group_size: Annotated[
        int | None,
        value_flag(Whole(1), "--group-size", help="Latent weights get a scale for each 64 or 128 columns."),
    ] = None,
    zero_share: Annotated[
        float | None, value_flag(Number(least=0, most=1), "--zero-share", help="Share of zeros in each of them: 0.328.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="SRC is an adapter (LoRA) of this model.")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora",
            metavar="PATH[=SCALE]",
            help="Merge an adapter, with --type f32, f16, bf16 or q8_0; may be repeated.",
        ),
    ] = None,
    imatrix: Annotated[
        Path | None,
        typer.Option(
            "--imatrix", metavar="FILE", help="Importance of inputs, for --type q4_0, q4_k, q5_k, q6_k and iq4_nl."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Convert a model to GGUF or a folder.

    A folder is in the format of Hugging Face, of an adapter in that of PEFT. Ternary weights keep their codes exactly.
    """
    if base is not None:
        given = [
            name
            for name, value in (
                ("--type", type),
                ("--head", head),
                ("--embd", embd),
                ("--lora", lora),
                ("--imatrix", imatrix),
            )
            if value
        ]
        if given:
            raise ArgumentError(f"{given[0]} is for models, and --base says that {src} is an adapter.")
        from sterna.checkpoint.adapters.convert import convert_adapter

        path = convert_adapter(src, dst, base, force)
        print_json({"path": str(path)}) if json else print(path)
        return
    from sterna.checkpoint.adapters import is_adapter
    from sterna.checkpoint.convert import convert as run

    if is_adapter(src):
        raise ArgumentError(f"{src} is an adapter (LoRA): give the model that it was made for with --base.")

    with progress(f"{dst.name}") as advance:
        report = run(
            src,
            dst,
            type=type,
            head=head,
            embedding=embd,
            strict=strict,
            verify=verify,
            force=force,
            split_bytes=split_size,
            i2s_layout=i2s_layout,
            tl_tiles=tl_tiles,
            group_size=group_size,
            zero_share=zero_share,
            lora=adapter_scales(lora),
            imatrix=imatrix,
            progress=advance,
        )
    if json:
        print_json(asdict(report) | {"path": str(report.path), "files": [str(path) for path in report.files]})
        return
    types = ", ".join(f"{count} {name}" for name, count in sorted(report.types.items(), key=lambda item: -item[1]))
    print(f"{report.path}: {report.bytes:,} bytes, tensors: {types}")
    for note in report.notes:
        print(note)
    if report.scale_change:
        print(
            f"Ternary codes are exact; scales were rounded, the largest relative change is {report.scale_change:.1e}."
        )
    if verify:
        print("Read back and compared with the source: equal.")
