"""A quantised matrix of a folder: the tensors that are its parts, checked, and the streams that readers make of
them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from math import gcd

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.files.safetensors.reader import FLOATS, StoredTensor
from sterna.tensor.decode import decode
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.pages import release
from sterna.tensor.tensor import Tensor, TensorStream
from sterna.ternary.floats import exact_float16
from sterna.ternary.int4 import INT4

INTEGERS = {"I8": "<i1", "U8": "<u1", "I16": "<i2", "I32": "<i4", "U32": "<u4", "I64": "<i8"}

Groups = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Codes, uint8 [out, in], and their scales and zero points, float32 [out, groups]: `w = scale * (code - zero)`."""


@dataclass(frozen=True)
class Module:
    """A matrix [out, in] of the model that a folder keeps in several tensors."""

    name: str
    """Its canonical name without `.weight`."""
    source: str
    """Its name in the folder."""
    shape: tuple[int, int]
    parts: Mapping[str, StoredTensor]
    """By the endings of their names."""

    def broken(self, what: str) -> FormatError:
        """The error of a matrix whose parts are not what its format promises."""
        return FormatError(f"its matrix {self.source!r} is broken: {what}.")

    def part(self, ending: str, types: Collection[str], shape: tuple[int, ...] | None = None) -> StoredTensor:
        """A part of one of these types, and of this shape if one is given; raises FormatError where it is not so."""
        stored = self.parts.get(ending)
        if stored is None:
            raise self.broken(f"it has no {ending}")
        if stored.dtype not in types:
            raise self.broken(f"its {ending} has the type {stored.dtype} instead of {' or '.join(types)}")
        if shape is not None and stored.shape != shape:
            raise self.broken(f"its {ending} has the shape {list(stored.shape)} instead of {list(shape)}")
        return stored

    def integers(self, ending: str, types: tuple[str, ...], shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A part of whole numbers as it is stored."""
        stored = self.part(ending, types, shape)
        return stored.data.view(INTEGERS[stored.dtype]).reshape(stored.shape)

    def floats(self, ending: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """A part of float numbers in float32; raises FormatError where one is not finite."""
        values = decode(self.part(ending, FLOATS, shape).floats())
        if not np.isfinite(values).all():
            raise self.broken(f"its {ending} has values that are not finite")
        return values

    def groups_of(self, ending: str, axis: int) -> int:
        """How many groups of columns there are: the length of `axis` of a part of two axes. Raises FormatError where
        the columns do not fall into equal groups."""
        stored = self.part(ending, FLOATS)
        count = stored.shape[axis] if len(stored.shape) == 2 else 0
        if not 0 < count <= self.shape[1] or self.shape[1] % count:
            raise self.broken(
                f"its {ending} has the shape {list(stored.shape)}, which does not fit {self.shape[1]} columns"
            )
        return count

    def matrix(self, make: Callable[[], np.ndarray], encoding: Encoding = Encoding.F32) -> TensorStream:
        """The weight, float32 [out, in] as `make` gives it, for what no kernel multiplies as it is stored; rounded to
        a float `encoding`."""

        def parts() -> Iterator[Tensor]:
            yield encode(f"{self.name}.weight", make(), encoding)
            self._release()

        return TensorStream(f"{self.name}.weight", self.shape, encoding, parts)

    def grouped(
        self, bits: int, scales: np.ndarray, zeros: np.ndarray, codes: Callable[[], np.ndarray]
    ) -> TensorStream:
        """The weight from codes of `bits` bits, uint8 [out, in], and float32 scales and zero points [out, groups]: in
        INT4, if that holds it exactly, else in float32."""
        columns = self.shape[1]
        block = next((size for size in (128, 64, 32) if (columns // scales.shape[1]) % size == 0), None)
        d, z = exact_float16(scales), exact_float16(zeros)
        if bits > 4 or block is None or d is None or z is None:
            return self.matrix(lambda: dequantized(codes(), scales, zeros))
        encoding, kept = Encoding[f"INT4_G{block}"], block

        def parts() -> Iterator[Tensor]:
            repeated = (np.repeat(values, columns // kept // scales.shape[1], axis=1) for values in (d, z))
            yield Tensor(f"{self.name}.weight", self.shape, encoding, INT4[kept].pack(codes(), *repeated))
            self._release()

        return TensorStream(f"{self.name}.weight", self.shape, encoding, parts)

    def ordered(
        self,
        bits: int,
        scales: np.ndarray,
        zeros: np.ndarray,
        codes: Callable[[], np.ndarray],
        groups: np.ndarray | None,
    ) -> list[TensorStream]:
        """The weight as `grouped` makes it, where `groups` has the group of each column. If these are no runs of
        columns (act-order), the columns are sorted by groups, and the input is permuted likewise
        (`operations.Permute`)."""
        if groups is None:
            return [self.grouped(bits, scales, zeros, codes)]
        count = scales.shape[1]
        if (np.bincount(groups, minlength=count) * count != self.shape[1]).any():
            return [self.matrix(lambda: (codes() - zeros[:, groups]) * scales[:, groups])]
        order = np.argsort(groups, kind="stable")
        weight = self.grouped(bits, scales, zeros, lambda: np.ascontiguousarray(codes()[:, order]))
        return [weight, self.vector("_permutation.order", order)]

    def vector(self, name: str, values: np.ndarray) -> TensorStream:
        """Another tensor of the matrix, in float32."""
        tensor = encode(f"{self.name}{name}", values, Encoding.F32)
        return TensorStream(tensor.name, tensor.shape, tensor.encoding, lambda: (tensor,))

    def _release(self) -> None:
        for stored in self.parts.values():
            release(stored.data)


def dequantized(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """Float32 [out, in] of codes [out, in] with scales and zero points [out, groups]."""
    grouped = codes.reshape(*scales.shape, -1).astype(np.float32)
    values: np.ndarray = (grouped - zeros[..., None]) * scales[..., None]
    return values.reshape(codes.shape)


def unpacked(words: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """The codes, uint8, of `bits` bits each (at most 8) in 32-bit words, which follow each other along `axis` as one
    stream of bits, the lowest first; codes of 3, 5 and 6 bits may begin in one word and end in the next."""
    rows = np.moveaxis(words, axis, -1)
    stream = np.ascontiguousarray(rows).view("<u4")
    count = stream.shape[-1] * 32 // bits
    at = np.arange(count) * bits
    word, shift = at // 32, (at % 32).astype(np.uint32)
    mask = np.uint32((1 << bits) - 1)
    if 32 % bits == 0:
        per_word = 32 // bits
        shifts = np.arange(per_word, dtype=np.uint32) * np.uint32(bits)
        codes = ((stream[..., None] >> shifts) & mask).astype(np.uint8).reshape(*stream.shape[:-1], count)
    else:
        following = np.minimum(word + 1, stream.shape[-1] - 1)
        low = stream[..., word] >> shift
        high = stream[..., following].astype(np.uint64) << (np.uint64(32) - shift.astype(np.uint64))
        codes = ((low | high.astype(np.uint32)) & mask).astype(np.uint8)
    return np.moveaxis(codes, -1, axis)


def codes_in_words(bits: int) -> int:
    """The least number of codes of `bits` bits that fill whole words of 32 bits."""
    return 32 // gcd(32, bits)


def packed(codes: np.ndarray, bits: int, axis: int) -> np.ndarray:
    """The inverse of `unpacked`: int32 words of codes, uint8, of `bits` bits each along `axis`, whose codes must fill
    whole words; raises UnsupportedError where they do not."""
    rows = np.moveaxis(codes, axis, -1)
    if rows.shape[-1] % codes_in_words(bits):
        raise UnsupportedError(f"{rows.shape[-1]} codes of {bits} bits do not fill whole words of 32 bits.")
    fields = np.unpackbits(np.ascontiguousarray(rows)[..., None], axis=-1, count=bits, bitorder="little")
    words = np.packbits(fields.reshape(*rows.shape[:-1], -1), axis=-1, bitorder="little").view("<i4")
    return np.ascontiguousarray(np.moveaxis(words, -1, axis))
