"""Opens a Hugging Face folder (config.json and safetensors) as a model whose ternary matrices are packed: in I2_S, or,
where groups of columns have scales, in Q1_0, PQ2_0 or Q2_0."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.checkpoint import Checkpoint, about, check
from sterna.checkpoint.hf import mlx
from sterna.checkpoint.hf.config import (
    Quantization,
    architecture_class,
    decoder_config,
    is_tied,
    read_config,
    read_quantization,
)
from sterna.checkpoint.hf.quantized import Method, Module, method_of
from sterna.errors import FormatError, SternaError, UnsupportedError, listed, warn
from sterna.files.hf_files import CONFIG, POOLING
from sterna.files.json_values import mapping
from sterna.files.no_model import no_model
from sterna.files.safetensors.reader import FLOATS, StoredTensor, read_folder, read_json
from sterna.model.architecture import EMBEDDING, HEAD, MATRICES, plus_one
from sterna.model.architectures import HF_CLASSES, architecture_of
from sterna.model.config import ModelConfig
from sterna.model.validate import check_config, tensor_shapes
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor, TensorStream, whole
from sterna.tensor.unpacked import exact_encoding, pack_groups
from sterna.ternary import absmean, pack_i2s, ternary_scale, unpack_hf

FULL_NAMES = ("model.embed_tokens.", "model.layers.", "model.norm.", "lm_head.")
"""How the names of a model's tensors begin."""
NESTED = "language_model."
"""Part of the names of a decoder's tensors in a model with vision."""
ROTATION = "hadamard.json"
"""Says in an MLX folder of Bonsai 2 which matrices multiply rotated activations."""
PIECE_BYTES = 1 << 22
"""Bytes of two tensors that are compared at once."""


def open_hf(path: str | os.PathLike[str], keep_latent: bool = False) -> Checkpoint:
    """The model in a folder: packed (`uint8`), latent (quantised by absmean here), of MLX's words, or of plain float
    matrices, which are packed here if they are ternary.

    Tensors are converted only when they are asked for. `keep_latent` leaves latent weights as they are, for training.
    Raises NotFoundError where files are missing, FormatError for
    broken ones, UnsupportedError for a model or a quantisation that Sterna does not know.
    """
    folder = Path(path)
    given = read_json(folder / CONFIG)
    with about(folder):
        raw = decoder_config(given)
        # Checked before the weights are looked for: a model of an unknown class may keep them in another way.
        _check_rotation(raw, folder)
        architecture_class(raw)
        tied = is_tied(raw)
        architecture, _ = HF_CLASSES[architecture_class(raw)]
    stored = _prefixed(read_folder(folder, lambda name: _is_idle(name) or (tied and name in (EMBEDDING, HEAD))))
    passed_over = [name for name in stored if name.startswith(architecture.passed_over)]
    if passed_over:
        warn(f"{folder} has parts beside the decoder, which Sterna passes over: {listed(passed_over)}.")
        stored = {name: tensor for name, tensor in stored.items() if name not in set(passed_over)}
    if not stored:
        raise no_model(folder)
    with about(folder):
        stored = _tied(stored, tied, folder)
        if EMBEDDING not in stored or len(stored[EMBEDDING].shape) != 2:
            raise FormatError(f"it has no matrix {EMBEDDING}.")
        config = read_config(raw, stored[EMBEDDING].shape[0], HEAD in stored)
        config = replace(config, pooling=_pooling(folder))
        check_config(config)
        input_norms = any(name.endswith("_proj.norm.weight") for name in stored)
        method = method_of(raw, stored)
        if method is None:
            quantization, matrices = read_quantization(raw, config, input_norms), {}
        else:
            quantization, matrices = None, _quantized_matrices(stored, config, method, raw)
            config = replace(config, standardize_eps=method.standardize_eps)
            stored = _without(stored, matrices, method)
        tensors = _tensors(stored, config, quantization, keep_latent) | {
            tensor.name: tensor for streams in matrices.values() for tensor in streams
        }
        check(config, tensors)
        packed = any(tensor.dtype == "U8" for tensor in stored.values())
        latent = keep_latent and quantization is not None and not packed
        return Checkpoint(config, dict(tensors), raw, folder, "hf", latent=latent)


def _quantized_matrices(
    stored: Mapping[str, StoredTensor], config: ModelConfig, method: Method, raw: Mapping[str, Any]
) -> dict[str, list[TensorStream]]:
    """The matrices that are quantised after training, and what else their linear operations need, by the names of their
    modules."""
    section = mapping(raw, "quantization_config")
    method.check(section)
    shapes = tensor_shapes(config)
    matrices = {}
    for name, (source, *_) in architecture_of(config).hf_names(config.num_layers).items():
        module = source.removesuffix(".weight")
        if f"{module}.{method.anchor}" in stored and module != source and len(shapes[name]) == 2:
            ends = (ending for ending in method.endings if f"{module}.{ending}" in stored)
            parts = {ending: stored[f"{module}.{ending}"] for ending in ends}
            rows, columns = shapes[name]
            matrices[module] = method.read(
                Module(name.removesuffix(".weight"), module, (rows, columns), parts), section
            )
    return matrices


def _without(stored: Mapping[str, StoredTensor], modules: Collection[str], method: Method) -> dict[str, StoredTensor]:
    """The tensors that are no parts of quantised `modules`. AutoGPTQ gave each a bias, of zeros where the model has
    none."""
    parts = {f"{module}.{ending}" for module in modules for ending in method.endings}
    biases = (f"{module}.bias" for module in modules)
    parts |= {name for name in biases if name in stored and not stored[name].data.any()}
    return {name: tensor for name, tensor in stored.items() if name not in parts}


def is_hf_model(folder: Path) -> bool:
    """Whether the `config.json` of a folder describes a model of an architecture that Sterna knows."""
    try:
        architecture_class(decoder_config(read_json(folder / CONFIG)))
    except SternaError:
        return False
    return True


def _check_rotation(raw: Mapping[str, Any], folder: Path) -> None:
    """Raises UnsupportedError for a folder of rotated weights, which without their rotation are noise."""
    if (folder / ROTATION).exists() or str(raw.get("model_type")).startswith("prism_hadamard"):
        raise UnsupportedError(
            "its weights multiply rotated activations (Bonsai 2's MLX form), and Sterna rotates in GGUF files alone: "
            "take the model's GGUF file."
        )


def _is_idle(name: str) -> bool:
    """Whether a tensor has no effect: rotary frequencies, which old versions of transformers saved."""
    return name.endswith(".rotary_emb.inv_freq")


def _prefixed(stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors under full names. As in transformers (`rename_source_key`), any name may lack `model.` (a body was
    saved without its head), or have it once too often (a model was saved inside another). The decoder of a model with
    vision has one more part in its names (`model.language_model.layers.`)."""
    names = {name: _full_name(name) for name in stored}
    return {
        full: replace(stored[name], name=full) for name, full in names.items() if name == full or full not in stored
    }


def _full_name(name: str) -> str:
    name = name.removeprefix(NESTED) if name.startswith(NESTED) else name.replace(f"model.{NESTED}", "model.", 1)
    inner, outer = name.removeprefix("model."), f"model.{name}"
    if inner != name and inner.startswith(FULL_NAMES):
        return inner
    return outer if outer.startswith(FULL_NAMES) else name


def _tied(stored: Mapping[str, StoredTensor], tied: bool, folder: Path) -> dict[str, StoredTensor]:
    """The tensors, without a head that is the embedding (`tied`: the model's `config.json` says that it is).

    As in transformers (`tie_weights`), the one matrix may be stored under either name. Two matrices with different
    values are both kept, with a warning.
    """
    embedding, head = stored.get(EMBEDDING), stored.get(HEAD)
    if not tied or head is None:
        return dict(stored)
    if embedding is not None and not _same(embedding, head):
        warn(
            f"{folder}/config.json says that the head is the embedding, but {HEAD} has other values than {EMBEDDING}, "
            "so it is used."
        )
        return dict(stored)
    others = {name: tensor for name, tensor in stored.items() if name not in (HEAD, *mlx.parts_of(HEAD))}
    return others | {EMBEDDING: replace(head if embedding is None else embedding, name=EMBEDDING)}


def _same(one: StoredTensor, other: StoredTensor) -> bool:
    """Whether two tensors have the same values. They are compared piece by piece, because different tensors mostly
    differ in the first piece."""
    if one.shape != other.shape:
        return False
    first, second = one.data, other.data
    if one.dtype == other.dtype:
        pieces = (slice(at, at + PIECE_BYTES) for at in range(0, len(first), PIECE_BYTES))
        return first.ctypes.data == second.ctypes.data or all(np.array_equal(first[p], second[p]) for p in pieces)
    if one.dtype not in FLOATS or other.dtype not in FLOATS:
        return False
    a, b = one.floats(), other.floats()
    return all(np.array_equal(decode(a.rows(*rows)), decode(b.rows(*rows))) for rows in a.row_chunks())


def _pooling(folder: Path) -> str:
    """The pooling that `1_Pooling/config.json` of sentence-transformers gives; `last` where there is no such file."""
    path = folder / POOLING
    if not path.is_file():
        return "last"
    keys = read_json(path)
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}
    wanted = [key for key, value in keys.items() if key.startswith("pooling_mode_") and value is True]
    return modes.get(wanted[0], wanted[0]) if len(wanted) == 1 else "unknown"


def _tensors(
    stored: Mapping[str, StoredTensor], config: ModelConfig, quantization: Quantization | None, keep_latent: bool
) -> dict[str, TensorStream]:
    architecture = architecture_of(config)
    names = {source: name for name, sources in architecture.hf_names(config.num_layers).items() for source in sources}
    shapes = tensor_shapes(config)
    parts = {part for name, tensor in stored.items() if tensor.dtype == "U32" for part in mlx.parts_of(name)}
    # mlx-lm saves convolutions in its own order of axes, and then norms as 1 + w.
    by_mlx = any(len(tensor.shape) == 3 and tensor.shape[2] == 1 for tensor in stored.values())
    tensors: dict[str, TensorStream] = {}
    for name, tensor in stored.items():
        if name.endswith(".weight_scale") or name in parts or _is_idle(name):
            continue
        if name not in names:
            raise UnsupportedError(f"it has a tensor {name!r}, which Sterna does not know.")
        if tensor.dtype == "U32":
            columns = shapes.get(names[name], (0,))[-1]
            stream = mlx.affine_matrix(names[name], tensor, stored, columns)
        else:
            scale = stored.get(name.removesuffix("weight") + "weight_scale")
            in_layer = tensor.name.removesuffix(".weight").split(".", 3)[-1] in architecture.matrices.values()
            stream = _stream(names[name], _flat(tensor), scale, quantization, in_layer, keep_latent)
        change = architecture.from_folder.get(_in_layer(names[name]))
        if change is plus_one and by_mlx:
            change = None
        tensors[names[name]] = stream if change is None else _changed(stream, change)
    _check_input_norms(tensors, config, quantization)
    return tensors


def _in_layer(name: str) -> str:
    """A canonical name without its `blk.N.`."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


def _flat(stored: StoredTensor) -> StoredTensor:
    """The weights of a depthwise convolution, [channels, 1, width] or MLX's [channels, width, 1], as a matrix."""
    is_depthwise = len(stored.shape) == 3 and 1 in stored.shape[1:]
    return replace(stored, shape=(stored.shape[0], stored.shape[1] * stored.shape[2])) if is_depthwise else stored


def _changed(stream: TensorStream, change: Callable[[np.ndarray], np.ndarray]) -> TensorStream:
    """A tensor whose values in GGUF files are others (`Architecture.from_folder`), in float32."""

    def make() -> Iterator[Tensor]:
        with np.errstate(over="ignore"):  # what is not finite is refused when the tensor is loaded
            values = np.ascontiguousarray(change(decode(whole(stream))), np.float32)
        yield Tensor(stream.name, stream.shape, Encoding.F32, values.view(np.uint8))

    return TensorStream(stream.name, stream.shape, Encoding.F32, make)


def _stream(
    name: str,
    stored: StoredTensor,
    scale: StoredTensor | None,
    quantization: Quantization | None,
    in_layer: bool,
    keep_latent: bool,
) -> TensorStream:
    """A stored tensor under its canonical name; matrices that are quantised come out as I2_S, float matrices that are
    ternary in groups of columns in the encoding that holds them exactly. `in_layer`: it is a linear matrix of a
    layer."""
    module = stored.name.removesuffix(".weight")
    if stored.dtype == "U8":
        if not in_layer or quantization is None or len(stored.shape) != 2 or scale is None:
            raise UnsupportedError(f"its tensor {stored.name!r} is packed, but not by bitnet's quantisation.")
        shape = (4 * stored.shape[0], stored.shape[1])
        factor = _scale(scale, quantization.divide)
        return TensorStream(name, shape, Encoding.I2_S, lambda: (_unpacked(name, stored, factor),))
    if stored.dtype not in FLOATS:
        raise UnsupportedError(f"its tensor {stored.name!r} has the type {stored.dtype}, which Sterna does not read.")
    tensor = stored.floats(name)
    is_matrix = len(stored.shape) == 2 and 0 not in stored.shape
    converted = quantization is not None and quantization.converts(module)
    may_be_packed = is_matrix and scale is None and (converted or quantization is None)
    packed = exact_encoding(tensor) if may_be_packed else None
    if in_layer and is_matrix and (_is_ternary(tensor) if quantization is None or packed is not None else converted):
        divide = quantization is not None and quantization.divide
        given = 1.0 if scale is None or quantization is None else _scale(scale, divide)
        latent = quantization is not None and scale is None
        if latent and keep_latent:
            return TensorStream(name, tensor.shape, tensor.encoding, lambda: (tensor,))
        return TensorStream(
            name, tensor.shape, Encoding.I2_S, lambda: (_quantized(stored.name, tensor, given, latent),)
        )
    if packed is not None:
        return TensorStream(name, tensor.shape, packed, lambda: (_packed(tensor, packed),))
    return TensorStream(name, tensor.shape, tensor.encoding, lambda: (tensor,))


def _packed(tensor: Tensor, encoding: Encoding) -> Tensor:
    """A float matrix in its `exact_encoding`."""
    found = pack_groups(tensor, encoding)
    assert found is not None
    release(tensor.data)
    return found[0]


def _is_ternary(tensor: Tensor) -> bool:
    """Whether a float matrix holds only {-s, 0, s}. The first row is tested first, which rules most others out."""
    row = tensor.data[: tensor.data.size // tensor.shape[0]]
    first = replace(tensor, shape=tensor.shape[1:], data=row)
    values = decode(first)
    return (ternary_scale(values) is not None or not values.any()) and ternary_scale(decode(tensor)) is not None


def _unpacked(name: str, stored: StoredTensor, scale: float) -> Tensor:
    """A packed matrix as I2_S."""
    try:
        codes = unpack_hf(stored.data.reshape(stored.shape))
    except ValueError as error:
        raise FormatError(f"its tensor {stored.name!r} is broken: {error}.") from error
    release(stored.data)
    return _ternary(name, codes, scale)


def _quantized(source: str, tensor: Tensor, factor: float, latent: bool) -> Tensor:
    """A float matrix as I2_S: a ternary one with its scale times `factor`, another (if `latent`) by absmean."""
    values = decode(tensor)
    release(tensor.data)
    if not np.isfinite(values).all():
        raise FormatError(f"its tensor {source!r} has values that are not finite.")
    given = ternary_scale(values)
    if given is not None:
        return _ternary(tensor.name, np.sign(values).astype(np.int8), given * factor)
    if not latent:
        raise FormatError(f"its tensor {source!r} has a weight_scale, but values that are not ternary.")
    return _ternary(tensor.name, *absmean(values))


def _ternary(name: str, codes: np.ndarray, scale: float) -> Tensor:
    try:
        data = pack_i2s(codes)
    except ValueError as error:
        raise UnsupportedError(f"its matrix {name} cannot be packed: {error}.") from error
    return Tensor(name, codes.shape, Encoding.I2_S, data, scale)


def _scale(stored: StoredTensor, divide: bool) -> float:
    """A `weight_scale`, as the factor that multiplies codes."""
    if stored.dtype not in FLOATS or stored.shape not in ((), (1,)):
        raise FormatError(f"its {stored.name!r} is not one float number.")
    value = decode(stored.floats()).item()
    if not isfinite(value) or value == 0:
        raise FormatError(f"its {stored.name!r} is {value}.")
    return 1 / value if divide else value


def _check_input_norms(
    tensors: Mapping[str, TensorStream], config: ModelConfig, quantization: Quantization | None
) -> None:
    """Raises FormatError unless exactly those matrices have input norms for which the configuration asks for one."""
    for index in range(config.num_layers):
        for name, source in MATRICES.items():
            module, norm = f"model.layers.{index}.{source}", f"blk.{index}.{name}_norm_in.weight"
            wanted = quantization is not None and quantization.input_norm and quantization.converts(module)
            if wanted != (norm in tensors):
                raise FormatError(f"its quantization_config and its tensors disagree about the rms_norm of {module}.")
