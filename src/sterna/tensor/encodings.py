"""Every encoding of a tensor's values, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np

from sterna.ternary import blocks, floats, group_scaled, i2s, importance, kquants, tl, tq
from sterna.ternary.int4 import INT4

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class FloatBlocks:
    """A packing of float values in blocks along the rows."""

    decode: Callable[[np.ndarray], np.ndarray]
    """A uint8 vector of blocks to their float32 values."""
    encode: Callable[[np.ndarray], np.ndarray] | None = None
    """A float32 vector of whole blocks to an array of the stored bytes; None where Sterna does not write it."""
    encode_weighted: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    """Float32 rows [rows, columns] and the importance of their columns (`ternary/importance.py`) to the stored bytes;
    None where importance changes nothing, or Sterna does not write it."""
    numbers: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    """A uint8 vector of blocks to the numbers that a block's scale multiplies, float32 `[blocks, block]`, and the
    scales `[blocks]`, where blocks are the groups of columns that activations are quantised in, too; else None."""


@dataclass(frozen=True, eq=False)
class TernaryBlocks:
    """A packing of the codes -1, 0 and 1, and of their scales, in blocks. Binary weights have the codes -1 and 1; Q2_0
    and PQ2_0 can also hold 2, which no ternary model uses."""

    unpack: Callable[[np.ndarray, Shape], tuple[np.ndarray, np.ndarray | None]]
    """Stored bytes to int8 codes of a shape and float32 scales `[..., columns / group]`, None where there are none."""
    pack: Callable[[np.ndarray, np.ndarray], np.ndarray] | None
    """Codes and scales to stored bytes; a packing without scales of its own ignores them. None where Sterna does not
    write it."""
    zeros: Callable[[np.ndarray], int]
    """How many codes in stored bytes are 0."""
    group: int | None
    """Columns that share a scale; None: the whole tensor has one scale, `Tensor.scale`."""
    flat: bool = False
    """Blocks run over the flattened matrix, not along each row."""


@dataclass(frozen=True, eq=False)
class TernaryTiles:
    """A packing of ternary codes in tiles that interleave rows and depend on the shape. It is only read: matrices are
    converted to I2_S before they are used. `Tensor.scale` is their scale."""

    tiles: Callable[[Shape, str], tl.Tiles | None]
    """The tiles of a shape, from a source named in `tl.TL_TILES`; None where the source has no such shape."""
    unpack: Callable[[np.ndarray, Shape, tl.Tiles], np.ndarray]
    """Stored bytes to int8 codes of a shape. Raises ValueError for invalid data."""


Packing = FloatBlocks | TernaryBlocks | TernaryTiles

I2_S = TernaryBlocks(
    unpack=lambda data, shape: (i2s.unpack_i2s(data, shape), None),
    pack=lambda codes, scales: i2s.pack_i2s(codes),
    zeros=i2s.count_zeros,
    group=None,
    flat=True,
)
TQ1_0 = TernaryBlocks(tq.TQ1_0.unpack, tq.TQ1_0.pack, tq.TQ1_0.count_zeros, tq.BLOCK)
TQ2_0 = TernaryBlocks(tq.unpack_tq2_0, tq.pack_tq2_0, tq.count_zeros_tq2_0, tq.BLOCK)
Q2_0, PQ2_0, Q1_0, PTQ1_0 = (
    TernaryBlocks(kind.unpack, kind.pack, kind.count_zeros, kind.block)
    for kind in (group_scaled.Q2_0, group_scaled.PQ2_0, group_scaled.Q1_0, tq.PTQ1_0)
)
INT4_G32, INT4_G64, INT4_G128 = (FloatBlocks(kind.dequantize, numbers=kind.numbers) for kind in INT4.values())
STQ1_0 = TernaryBlocks(group_scaled.unpack_stq1_0, None, group_scaled.count_zeros_stq1_0, group_scaled.STQ1_0_BLOCK)
Q1_0_G32 = TernaryBlocks(group_scaled.Q1_0_G32.unpack, None, group_scaled.Q1_0_G32.count_zeros, 32)
Q4_0 = FloatBlocks(blocks.dequantize_q4_0, blocks.quantize_q4_0, importance.quantize_q4_0)
Q4_K = FloatBlocks(kquants.dequantize_q4_k, importance.quantize_q4_k, importance.quantize_q4_k)
Q5_K = FloatBlocks(kquants.dequantize_q5_k, importance.quantize_q5_k, importance.quantize_q5_k)
Q6_K = FloatBlocks(blocks.dequantize_q6_k, blocks.quantize_q6_k, importance.quantize_q6_k)
IQ4_NL = FloatBlocks(kquants.dequantize_iq4_nl, importance.quantize_iq4_nl, importance.quantize_iq4_nl)
TL1 = TernaryTiles(tl.tl1_tiles, tl.unpack_tl1)
TL2 = TernaryTiles(lambda shape, whose: tl.tl2_tiles(shape), tl.unpack_tl2)


class Encoding(str, Enum):
    """How the bytes of a tensor encode its values. The members are GGUF's names; `native/kernels/formats.hpp` has the
    same rows for the engine."""

    gguf_type: int | None
    """GGUF's number of the tensor type; None where the number is ambiguous (`files/gguf/by_size.py`)."""
    file_type: int | None
    """GGUF's `general.file_type` of a file that is mostly in this encoding (llama.h; 40 is bitnet.cpp's)."""
    block: int
    """Weights in a block; 0 for tiles."""
    block_bytes: int
    packing: Packing
    activations: str
    """The activations that the engine's kernel multiplies with: float32 (`none`), or quantised to `int8` or `int15`."""
    precision: float
    """Largest error of a stored value, as a share of the largest value near it."""

    # name, GGUF type, file type, weights in a block, bytes of a block, packing, activations, precision, fallback (by
    # default F16). The fallbacks are llama.cpp's, except those of I2_S, which llama.cpp does not have, and of Q4_K and
    # Q5_K, where it takes Q5_0 and Q5_1.
    F32 = "f32", 0, 0, 1, 4, FloatBlocks(floats.decode_f32, floats.encode_f32), "none", 0.0
    F16 = "f16", 1, 1, 1, 2, FloatBlocks(floats.decode_f16, floats.encode_f16), "none", 2**-10
    BF16 = "bf16", 30, 32, 1, 2, FloatBlocks(floats.decode_bf16, floats.encode_bf16), "none", 2**-7
    Q4_0 = "q4_0", 2, 2, 32, 18, Q4_0, "int15", 2**-2
    Q4_1 = "q4_1", 3, 3, 32, 20, FloatBlocks(kquants.dequantize_q4_1), "int15", 2**-2
    Q5_0 = "q5_0", 6, 8, 32, 22, FloatBlocks(kquants.dequantize_q5_0), "int15", 2**-2
    Q5_1 = "q5_1", 7, 9, 32, 24, FloatBlocks(kquants.dequantize_q5_1), "int15", 2**-2
    Q8_0 = "q8_0", 8, 7, 32, 34, FloatBlocks(blocks.dequantize_q8_0, blocks.quantize_q8_0), "int15", 2**-7
    Q2_K = "q2_k", 10, 10, 256, 84, FloatBlocks(kquants.dequantize_q2_k), "int15", 2**-2
    Q3_K = "q3_k", 11, 12, 256, 110, FloatBlocks(kquants.dequantize_q3_k), "int15", 2**-2
    Q4_K = "q4_k", 12, 15, 256, 144, Q4_K, "int15", 2**-2, "IQ4_NL"
    Q5_K = "q5_k", 13, 17, 256, 176, Q5_K, "int15", 2**-2, "Q8_0"
    Q6_K = "q6_k", 14, 18, 256, 210, Q6_K, "int15", 2**-4, "Q8_0"
    IQ4_NL = "iq4_nl", 20, 25, 32, 18, IQ4_NL, "int15", 2**-2
    INT4_G32 = "int4_g32", None, None, 32, 20, INT4_G32, "int8", 2**-2
    INT4_G64 = "int4_g64", None, None, 64, 36, INT4_G64, "int8", 2**-2
    INT4_G128 = "int4_g128", None, None, 128, 68, INT4_G128, "int8", 2**-2
    I2_S = "i2_s", 36, 40, 128, 32, I2_S, "int8", 2**-2, "Q4_0"
    TQ1_0 = "tq1_0", 34, 36, 256, 54, TQ1_0, "int8", 2**-2, "Q4_0"
    TQ2_0 = "tq2_0", 35, 37, 256, 66, TQ2_0, "int8", 2**-2, "Q4_0"
    Q2_0 = "q2_0", 42, 41, 64, 18, Q2_0, "int15", 2**-2, "Q4_0"
    PQ2_0 = "pq2_0", 142, 141, 128, 34, PQ2_0, "int15", 2**-2, "Q4_0"
    PTQ1_0 = "ptq1_0", 143, 143, 128, 28, PTQ1_0, "int15", 2**-2, "Q4_0"
    Q1_0 = "q1_0", 41, 40, 128, 18, Q1_0, "int15", 2**-2, "Q4_0"
    STQ1_0 = "stq1_0", None, None, 256, 42, STQ1_0, "int15", 2**-2
    Q1_0_G32 = "q1_0_g32", None, None, 32, 6, Q1_0_G32, "int15", 2**-2
    TL1 = "tl1", None, None, 0, 0, TL1, "int8", 2**-2
    TL2 = "tl2", None, None, 0, 0, TL2, "int8", 2**-2

    def __new__(
        cls,
        name: str,
        gguf_type: int | None,
        file_type: int | None,
        block: int,
        block_bytes: int,
        packing: Packing,
        activations: str,
        precision: float,
        fallback: str = "F16",
    ) -> Encoding:
        self = str.__new__(cls, name)
        self._value_ = name
        self.gguf_type, self.file_type = gguf_type, file_type
        self.block, self.block_bytes = block, block_bytes
        self.packing, self.activations, self.precision, self._fallback = packing, activations, precision, fallback
        return self

    _fallback: str

    @property
    def fallback(self) -> Encoding:
        """The encoding for matrices whose rows do not fill the blocks of this one."""
        return Encoding[self._fallback]

    @property
    def is_float(self) -> bool:
        """F32, F16 or BF16: single numbers, without blocks."""
        return self.block == 1

    @property
    def is_ternary(self) -> bool:
        """Whether the values are the codes -1, 0 and 1 times scales."""
        return not isinstance(self.packing, FloatBlocks)

    @property
    def is_int4(self) -> bool:
        """Whether the values are INT4 codes less a zero point (`ternary/int4.py`): a block is a group of columns."""
        return isinstance(self.packing, FloatBlocks) and self.packing.numbers is not None

    @property
    def is_group_scaled(self) -> bool:
        """Whether the weights are ternary or binary, and groups of columns have scales of their own because the model
        was trained so (Bonsai). BitNet's matrices have one scale, which TQ1_0 and TQ2_0 repeat."""
        return self.is_ternary and self.activations == "int15"

    @property
    def is_tiled(self) -> bool:
        """Whether the encoding is ternary in tiles (`TernaryTiles`)."""
        return isinstance(self.packing, TernaryTiles)

    @property
    def is_written(self) -> bool:
        """Whether Sterna writes the encoding; tensors in others are copied from file to file unchanged."""
        if isinstance(self.packing, FloatBlocks):
            return self.packing.encode is not None
        return isinstance(self.packing, TernaryBlocks) and self.packing.pack is not None

    def data_bytes(self, shape: Shape) -> int:
        """Bytes of the weights of a tensor, without the one scale of a whole tensor. Raises ValueError where the shape
        is no whole number of blocks, and for tiles."""
        if self.is_tiled:
            raise ValueError(f"{self.name} is read, but never written")
        count = prod(shape)
        flat = isinstance(self.packing, TernaryBlocks) and self.packing.flat
        if (count if flat else shape[-1]) % self.block:
            raise ValueError(
                f"{self.name} keeps blocks of {self.block} weights, which the shape {list(shape)} does not fill"
            )
        return count // self.block * self.block_bytes
