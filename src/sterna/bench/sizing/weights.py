"""The bytes of a model's weights in an encoding, from its shapes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from sterna.errors import ArgumentError
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.model.validate import tensor_shapes
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor, TensorStream

BODIES = (
    Encoding.Q1_0,
    Encoding.TQ1_0,
    Encoding.PTQ1_0,
    Encoding.I2_S,
    Encoding.TQ2_0,
    Encoding.PQ2_0,
    Encoding.Q2_0,
    Encoding.Q4_0,
    Encoding.Q6_K,
    Encoding.Q8_0,
    Encoding.F16,
)
"""The encodings that matrices of layers are planned in, the smallest first."""
ENTROPY = 1.584962500721156
"""log2(3): bits of a ternary weight whose three values are equally frequent."""


@dataclass(frozen=True)
class Weights:
    """Bytes and parameters of a model. `layers`: the matrices of the layers; `head`: the output matrix, which is the
    embedding too where the two are tied; `embedding`: an embedding of its own, else 0; `rest`: norms and other vectors.
    """

    layers: int
    head: int
    embedding: int
    rest: int
    parameters: int
    layer_parameters: int
    head_parameters: int

    @property
    def bytes(self) -> int:
        """Of all tensors, as a file has them beside its header."""
        return self.layers + self.head + self.embedding + self.rest

    @property
    def read_by_a_pass(self) -> int:
        """What one pass reads: all but an embedding of its own, of which it looks up some rows."""
        return self.bytes - self.embedding


def bits(encoding: Encoding) -> float:
    """Bits of a weight in an encoding, scales included."""
    return 8 * encoding.block_bytes / encoding.block


def body_encoding(text: str) -> Encoding:
    """The encoding for `--bits`: its name, or the smallest of `BODIES` with at least so many bits a weight (1.58:
    TQ1_0, which has 1.69). Raises `ArgumentError` for anything else."""
    named = {encoding.value: encoding for encoding in BODIES}
    if text.lower() in named:
        return named[text.lower()]
    try:
        wanted = float(text)
    except ValueError:
        wanted = 0.0
    found = [encoding for encoding in sorted(BODIES, key=bits) if bits(encoding) >= wanted] if wanted > 0 else []
    if not found:
        raise ArgumentError(f"--bits is a number from 1 to 16, or one of {', '.join(named)}, not '{text}'.")
    return found[0]


def encodings(config: ModelConfig, body: Encoding, head: Encoding) -> dict[str, Encoding]:
    """The encoding of each tensor, as `sterna convert` chooses it: where rows do not fill the blocks of an encoding,
    its fallback, and float32 for vectors."""
    layers = {f"{name}.weight" for name in architecture_of(config).matrices}
    chosen = {}
    for name, shape in tensor_shapes(config).items():
        is_matrix = name.startswith("blk.") and name.split(".", 2)[-1] in layers
        wanted = body if is_matrix else head if name in ("token_embd.weight", "output.weight") else Encoding.F32
        chosen[name] = wanted if len(shape) > 1 else Encoding.F32
        while not _fills(chosen[name], shape):
            chosen[name] = chosen[name].fallback
    return chosen


def resident(encoding: Encoding) -> Encoding:
    """The encoding that a matrix has in memory: the engine makes I2_S of TQ1_0 and TQ2_0."""
    return Encoding.I2_S if encoding in (Encoding.TQ1_0, Encoding.TQ2_0) else encoding


def in_memory(weights: Weights, config: ModelConfig, body: Encoding, head: Encoding) -> Weights:
    """What weights are once the model is loaded: themselves, or those of the encoding that the engine makes of them."""
    return weights if body is resident(body) else planned(config, resident(body), head)


def planned(config: ModelConfig, body: Encoding, head: Encoding) -> Weights:
    """The weights of a model that need not be there."""
    chosen = encodings(config, body, head)
    sizes = {name: chosen[name].data_bytes(shape) for name, shape in tensor_shapes(config).items()}
    return _summed(config, sizes)


def of_tensors(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Weights:
    """The weights of a model that is there."""
    return _summed(config, {name: tensor.data.nbytes for name, tensor in tensors.items()})


def _summed(config: ModelConfig, sizes: Mapping[str, int]) -> Weights:
    shapes = tensor_shapes(config)
    head_name = "token_embd.weight" if config.tied_head else "output.weight"
    layers = [name for name, shape in shapes.items() if name.startswith("blk.") and len(shape) > 1]
    body = sum(sizes[name] for name in layers)
    embedding = 0 if config.tied_head else sizes["token_embd.weight"]
    return Weights(
        layers=body,
        head=sizes[head_name],
        embedding=embedding,
        rest=sum(sizes.values()) - body - sizes[head_name] - embedding,
        parameters=sum(map(prod, shapes.values())),
        layer_parameters=sum(prod(shapes[name]) for name in layers),
        head_parameters=prod(shapes[head_name]),
    )


def _fills(encoding: Encoding, shape: tuple[int, ...]) -> bool:
    try:
        encoding.data_bytes(shape)
    except ValueError:
        return False
    return True


def layers_encoding(tensors: Mapping[str, Tensor | TensorStream]) -> Encoding:
    """The encoding of most weights of a model's layers; I2_S, which the engine makes of them, for tiles."""
    sizes: Counter[Encoding] = Counter()
    for name, tensor in tensors.items():
        if name.startswith("blk.") and len(tensor.shape) > 1:
            sizes[tensor.encoding] += prod(tensor.shape)
    most = max(sizes, key=lambda encoding: sizes[encoding])
    return Encoding.I2_S if most.is_tiled else most
