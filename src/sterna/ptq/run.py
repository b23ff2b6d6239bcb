"""A run of `sterna quantize`: layer by layer, with a record of what is finished, then the model as a whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sterna import __version__
from sterna.checkpoint import Checkpoint, open_checkpoint
from sterna.checkpoint.convert import target_tensors
from sterna.checkpoint.convert.rotated import turned_back
from sterna.checkpoint.hf.quantized.writer import Writer
from sterna.errors import OptionError, UnsupportedError, warn
from sterna.files.fingerprint import fingerprint
from sterna.files.hub.cache import resolve_model
from sterna.model.architecture import MATRICES, matrix_shapes
from sterna.model.config import ModelConfig
from sterna.ptq.calibration import read_calibration
from sterna.ptq.layers import Layer, Source
from sterna.ptq.method import Matrix, Method
from sterna.ptq.methods import METHODS, REFUSED
from sterna.ptq.output import check_target, format_of, matrix_parts, write_model
from sterna.ptq.record import Record
from sterna.ptq.rotation import PAIRINGS
from sterna.ptq.settings import Settings
from sterna.train.device import usable_device
from sterna.train.lock import locked

ERROR_TOKENS = 4096
"""How many tokens the error of a layer is measured on."""


@dataclass(frozen=True)
class LayerReport:
    """How a layer did. `error`: the difference of its output from that of the float layer for the same input, relative
    to what the float layer adds to its input (Frobenius norms); `rtn_error`: the same with every matrix rounded to
    nearest."""

    layer: int
    error: float
    rtn_error: float
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a run made."""

    path: Path
    base: str
    """How the matrices of the base are quantised already; empty for a base of floats."""
    method: str
    bits: float
    group_size: int
    format: str
    bits_per_weight: float
    """Bits of all parts of the quantised matrices, for each of their weights."""
    bytes: int
    """Size of the files with the weights."""
    calibration: dict[str, Any]
    layers: list[LayerReport]


def quantize(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    settings: Settings,
    calibration: Sequence[Path] = (),
    format: str | None = None,
    force: bool = False,
    told: Callable[[LayerReport, int], None] = lambda layer, count: None,
) -> Report:
    """Quantises the matrices of the layers of the model `src`, and writes the result to `dst`: a folder in `format`, or
    a GGUF file where `dst` ends so. Embedding, head and norms become float16.

    The same call goes on where a killed one stopped, at the first layer that it had not finished. `calibration`: text
    files; none: the text of the package. `told` is called with every layer that is done, and how many there are.
    Warns of a base that is quantised already. Raises NotFoundError, FormatError, UnsupportedError, and ArgumentError
    for settings and paths that cannot be used.
    """
    dst = Path(dst)
    method = _method(settings)
    writer = format_of(method, format, dst, settings)
    check_target(os.fspath(src), dst, force)
    opened = open_checkpoint(src)
    base, source = quantized_as(opened), half(turned_back(opened))
    config = source.config
    if method.in_groups:
        check_groups(config, settings.group_size)
    _check_shapes(config, writer, int(settings.bits))
    _check_device(settings.device)
    text = read_calibration(calibration)
    layers = Source(source, settings.length, settings.device)
    windows = text.windows(source.tokenizer(), settings.samples, settings.length)
    described = text.described(windows)
    facts = {"method": settings.method, "calibration": described, "version": __version__}
    if base:
        facts["base"] = base
        warn(
            f"{opened.path} is quantised already ({base}): errors are measured against it, and not against the model "
            "of floats that it was made from."
        )
    record = Record(dst, config.num_layers)
    with locked(record.folder, "sterna quantize"):
        record.begin(_job(resolve_model(src), settings, writer.name, described), force)
        reports = _layers(layers, method, writer.parts, settings, windows, record, told)
        write_model(source, record, writer, settings, facts, dst)
        bits = _bits_per_weight(record, config)
        record.remove()
    return Report(
        dst,
        base,
        settings.method,
        settings.bits,
        settings.group_size,
        writer.name,
        bits,
        weight_bytes(dst),
        described,
        reports,
    )


def quantized_as(source: Checkpoint) -> str:
    """How the matrices of a model's layers are quantised: by the `quant_method` of its folder, or in types that are no
    floats; empty for a model of floats."""
    section = source.metadata.get("quantization_config") if source.kind == "hf" else None
    if section:
        return str(section.get("quant_method", "mlx"))  # MLX names no method
    matrices = (tensor for name, tensor in source.tensors.items() if name.startswith("blk.") and len(tensor.shape) == 2)
    return ", ".join(sorted({tensor.encoding.name for tensor in matrices if not tensor.encoding.is_float}))


def _method(settings: Settings) -> Method:
    if settings.method in REFUSED:
        raise UnsupportedError(REFUSED[settings.method])
    method = METHODS.get(settings.method)
    if method is None:
        raise OptionError("method", f"is one of {', '.join(METHODS)}, not {settings.method}.")
    if settings.bits not in method.bits:
        allowed = ", ".join(map(str, method.bits))
        raise OptionError("bits", f"is one of {allowed} for --method {settings.method}, not {settings.bits}.")
    if settings.symmetric and not method.has_zeros:
        raise OptionError(
            "symmetric", f"is for methods with zero points, and {settings.method} chooses its own or none."
        )
    if settings.pairing not in PAIRINGS:
        raise OptionError("pairing", f"is one of {', '.join(PAIRINGS)}, not {settings.pairing}.")
    return method


def _check_device(name: str) -> None:
    try:
        usable_device(name)
    except ValueError as error:
        raise OptionError("device", f"is {name}, and {error}.") from error


def check_groups(config: ModelConfig, group_size: int) -> None:
    """Raises UnsupportedError where the columns of a matrix do not fall into groups of this size."""
    for name, (_, columns) in matrix_shapes(config).items():
        if columns % group_size:
            fitting = [size for size in (128, 64, 32, 16) if columns % size == 0]
            hint = f"take --group-size {fitting[0]}" if fitting else "no usual group fits"
            raise UnsupportedError(f"The {columns} columns of {name} do not fall into groups of {group_size}: {hint}.")


def _check_shapes(config: ModelConfig, writer: Writer, bits: int) -> None:
    """Raises UnsupportedError where the format cannot hold a matrix of this model."""
    for name, shape in matrix_shapes(config).items():
        for count, multiple, axis in zip(shape, writer.multiples(bits), ("rows", "columns"), strict=True):
            if count % multiple:
                raise UnsupportedError(
                    f"The format {writer.name} holds codes of {bits} bits in multiples of {multiple} {axis}, and "
                    f"{name} has {count}: take another --format."
                )


def half(source: Checkpoint) -> Checkpoint:
    """The model with q and k in the order of Hugging Face folders, as `sterna.train.model` rotates them."""
    tensors = target_tensors(source, "half", folder=True)
    return replace(source, tensors=tensors, config=replace(source.config, rope_style="half"))


def _job(src: Path, settings: Settings, format: str, calibration: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result depends on."""
    return {
        "model": fingerprint(src),
        "settings": asdict(settings),
        "format": format,
        "calibration": dict(calibration),
        "versions": [__version__, torch.__version__],
    }


def _layers(
    source: Source,
    method: Method,
    parts_of: Callable[[Matrix], dict[str, np.ndarray]],
    settings: Settings,
    windows: Tensor,
    record: Record,
    told: Callable[[LayerReport, int], None],
) -> list[LayerReport]:
    count, done = source.config.num_layers, record.finished()
    reports = [LayerReport(**record.facts(index)) for index in range(done)]
    if done == count:
        return reports
    if done:
        flows = [flow.to(source.device) for flow in record.inputs(done)]
    else:
        flows = [source.embedded(windows)] * (2 if method.originals else 1)
    for index in range(done, count):
        layer = source.layer(index, flows[0], flows[1] if method.originals else None)
        report, parts, flows = _layer(layer, method, parts_of, settings)
        record.keep(index, parts, asdict(report), flows)
        reports.append(report)
        told(report, count)
    return reports


def _layer(
    layer: Layer, method: Method, parts_of: Callable[[Matrix], dict[str, np.ndarray]], settings: Settings
) -> tuple[LayerReport, dict[str, np.ndarray], list[Tensor]]:
    """Quantises a layer: how it did, its parts, and the inputs of the next layer."""
    begun = time.monotonic()
    probe = layer.inputs[: max(ERROR_TOKENS // layer.inputs.shape[1], 1)]
    expected = layer.forward(probe)
    added = (expected - probe).norm().clamp(min=1e-30)
    with layer.restored():
        for name in MATRICES:
            weight = layer.weight(name)
            layer.set_weight(name, settings.baseline(weight.shape[1]).nearest(weight))
        rtn_error = ((layer.forward(probe) - expected).norm() / added).item()
    originals = None if layer.originals is None else layer.forward(layer.originals)
    matrices = method.quantize(layer, settings)
    error = ((layer.forward(probe) - expected).norm() / added).item()
    parts = {f"{name}.{ending}": part for name in matrices for ending, part in parts_of(matrices[name]).items()}
    parts |= {
        name: parameter.detach().float().cpu().numpy()
        for name, parameter in layer.block.named_parameters()
        if parameter.dim() == 1
    }
    following = [layer.forward(layer.inputs), *([] if originals is None else [originals])]
    return LayerReport(layer.index, error, rtn_error, time.monotonic() - begun), parts, following


def _bits_per_weight(record: Record, config: ModelConfig) -> float:
    """The bits of all parts of the quantised matrices, divided by the number of their weights."""
    stored = [part for index in range(config.num_layers) for *_, part in matrix_parts(record.parts(index))]
    weights = config.num_layers * sum(rows * columns for rows, columns in matrix_shapes(config).values())
    return 8 * sum(part.data.nbytes for part in stored) / weights


def weight_bytes(model: Path) -> int:
    """Size of the files with the weights of a model: a folder, or one file."""
    files = model.glob("*.safetensors") if model.is_dir() else [model]
    return sum(file.stat().st_size for file in files)
