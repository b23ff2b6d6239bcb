"""`sterna quantize`: quantises a trained model after its training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sterna.cli.options import Json, value_flag
from sterna.cli.output import print_json, progress
from sterna.cli.streams import say
from sterna.engine.checks import Number, OneOf, Whole
from sterna.errors import OptionError, UnsupportedError

if TYPE_CHECKING:
    from sterna.ptq.run import LayerReport


def quantize(
    src: Annotated[str, typer.Argument(metavar="SRC", help="A GGUF file, a folder, or a model of the hub.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", help="NAME.gguf, or the name of a Hugging Face folder.")],
    method: Annotated[
        str, typer.Option("--method", help="rtn, gptq, awq, paroquant, aqlm, littlebit, sign or imatrix.")
    ] = "paroquant",
    bits: Annotated[
        float | None,
        value_flag(Number(above=0, most=8), "--bits", help="Bits of a code; default: 4, and 1 for sign and littlebit."),
    ] = None,
    group_size: Annotated[
        int, value_flag(Whole(1), "--group", "--group-size", help="Columns that share a scale.")
    ] = 128,
    calibration: Annotated[
        list[Path] | None,
        typer.Option("--calibration", metavar="FILE", help="UTF-8 text; may be repeated; default: the package's own."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="paro, awq, gptq, compressed-tensors, mlx, aqlm, littlebit or gguf; default: the method's."
        ),
    ] = None,
    symmetric: Annotated[bool, typer.Option("--symmetric", help="Zero points in the middle of the codes.")] = False,
    act_order: Annotated[
        bool, typer.Option("--act-order", help="GPTQ begins with the columns of the largest activations.")
    ] = False,
    pairing: Annotated[
        str, value_flag(OneOf("tournament", "greedy"), "--pairing", help="How ParoQuant pairs columns.")
    ] = "tournament",
    epochs: Annotated[
        int, value_flag(Whole(1), "--epochs", help="Passes over the text: each stage of ParoQuant, AQLM, LittleBit.")
    ] = 5,
    samples: Annotated[int, value_flag(Whole(1), "--samples", help="Windows of calibration text.")] = 128,
    length: Annotated[int, value_flag(Whole(2), "--length", help="Tokens of a window.")] = 512,
    seed: Annotated[int, value_flag(Whole(0), "--seed", help="Seed of what is drawn at random.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    force: Annotated[
        bool, typer.Option("--force", help="Replace DST, and an unfinished run of other settings.")
    ] = False,
    json: Json = False,
) -> None:
    """Quantise a trained model, layer by layer, with calibration text.

    A run that was interrupted goes on with the next layer.
    """
    try:
        from sterna.ptq.importance import write_importance
        from sterna.ptq.methods import default_bits
        from sterna.ptq.run import quantize as run
        from sterna.ptq.settings import Settings
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UnsupportedError("Quantising needs PyTorch: pip install 'sterna[train]'.") from None
    if method == "imatrix" and bits is not None:
        raise OptionError("bits", "has no effect on an importance matrix: leave it out.")
    bits = default_bits(method) if bits is None else int(bits) if bits.is_integer() else bits
    settings = Settings(method, bits, group_size, symmetric, act_order, pairing, epochs, samples, length, seed, device)
    if method == "imatrix":
        if format is not None:
            raise OptionError("format", "has no effect on an importance matrix: leave it out.")
        with progress(dst.name) as advance:
            importance = write_importance(src, dst, settings, calibration or (), force, advance)
        if json:
            print_json(asdict(importance) | {"path": str(importance.path)})
        else:
            print(
                f"{dst}: the importance of the inputs of {importance.matrices} matrices{_texts(importance.calibration)}"
            )
        return
    report = run(src, dst, settings, calibration or (), format, force, _tell)
    if json:
        print_json(asdict(report) | {"path": str(report.path)})
        return
    base = f", base already {report.base}" if report.base else ""
    print(
        f"{report.path}: {report.bits_per_weight:.3f} bits a weight, {report.bytes:,} bytes, format {report.format}"
        f"{base}{_texts(report.calibration)}"
    )


def _texts(calibration: dict[str, Any]) -> str:
    return f"; calibrated on {calibration['tokens']:,} tokens of {', '.join(calibration['text'])}"


def _tell(layer: LayerReport, count: int) -> None:
    say(
        f"layer {layer.layer + 1}/{count}: error {layer.error:.4f}, rounding to nearest {layer.rtn_error:.4f}, "
        f"{layer.seconds:.1f} s"
    )
