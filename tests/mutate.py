"""Deterministic mutations of a GGUF file: the same seed gives the same bytes on every machine."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from sterna.files.gguf.reader import read_gguf
from sterna.tensor.encodings import Encoding

EXTREMES = [0, 1, 2, 3, 7, 31, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 60, 1 << 63, (1 << 64) - 1]


class Entry(NamedTuple):
    """Where the fields of a tensor's entry lie in the header."""

    dimensions: int
    count: int
    type: int
    offset: int


class Corpus:
    """One valid GGUF file (alignment 32) and the ways to break it."""

    def __init__(self, path: Path) -> None:
        self.original = path.read_bytes()
        tensors = read_gguf(path).tensors
        self.entries = [self._entry(name, len(tensor.shape)) for name, tensor in tensors.items()]
        self.header_end = max(entry.offset for entry in self.entries) + 8
        start = -(-self.header_end // 32) * 32
        begins = [start + self._u64(entry.offset) for entry in self.entries]
        self.codes = [
            (begin, begin + tensor.data.size)
            for begin, tensor in zip(begins, tensors.values(), strict=True)
            if tensor.encoding is Encoding.I2_S
        ]

    def header_mutations(self, count: int, seed: int = 0) -> Iterator[bytes]:
        """`count` files whose header is damaged: each raises an error of Sterna, or is a model that runs."""
        kinds: list[Callable[[Random], bytes]] = [
            self._flip_bits,
            self._random_bytes,
            self._truncate,
            self._extreme_number,
            self._extreme_field,
            self._overlap,
            self._delete_bytes,
            self._repeat_bytes,
        ]
        for index in range(count):
            yield kinds[index % len(kinds)](Random(f"header {seed} {index}"))

    def payload_mutations(self, count: int, seed: int = 0) -> Iterator[bytes]:
        """`count` files in which only bits of ternary codes are flipped: each still loads and runs."""
        for index in range(count):
            random, data = Random(f"payload {seed} {index}"), bytearray(self.original)
            for _ in range(random.choice([1, 8, 256])):
                data[random.randrange(*random.choice(self.codes))] ^= 1 << random.randrange(8)
            yield bytes(data)

    def _entry(self, name: str, dimensions: int) -> Entry:
        key = name.encode()
        at = self.original.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
        return Entry(at, dimensions, at + 4 + 8 * dimensions, at + 8 + 8 * dimensions)

    def _u64(self, at: int) -> int:
        return int.from_bytes(self.original[at : at + 8], "little")

    def _with(self, at: int, new: bytes) -> bytes:
        return self.original[:at] + new + self.original[at + len(new) :]

    def _flip_bits(self, random: Random) -> bytes:
        data = bytearray(self.original)
        for _ in range(random.choice([1, 1, 2, 8, 64])):
            data[random.randrange(self.header_end)] ^= 1 << random.randrange(8)
        return bytes(data)

    def _random_bytes(self, random: Random) -> bytes:
        size = random.choice([1, 4, 8, 64])
        return self._with(random.randrange(self.header_end - size), random.randbytes(size))

    def _truncate(self, random: Random) -> bytes:
        return self.original[: random.randrange(random.choice([64, self.header_end, len(self.original)]))]

    def _extreme_number(self, random: Random) -> bytes:
        """A count of the header, or any eight bytes of it, become a number that no file has."""
        at = random.choice([8, 16, random.randrange(24, self.header_end - 8)])
        return self._with(at, struct.pack("<Q", random.choice(EXTREMES)))

    def _extreme_field(self, random: Random) -> bytes:
        entry = random.choice(self.entries)
        value = random.choice([*EXTREMES, random.randrange(64)])
        if random.random() < 0.5:
            size = entry.dimensions + 4 + 8 * random.randrange(entry.count)
            return self._with(random.choice([size, entry.offset]), struct.pack("<Q", value))
        return self._with(random.choice([entry.dimensions, entry.type]), struct.pack("<I", value & 0xFFFFFFFF))

    def _overlap(self, random: Random) -> bytes:
        """One tensor begins where another does, or inside it."""
        one, other = random.sample(self.entries, 2)
        shift = random.choice([0, 0, 32, -32, 1])
        return self._with(one.offset, struct.pack("<Q", (self._u64(other.offset) + shift) & ((1 << 64) - 1)))

    def _delete_bytes(self, random: Random) -> bytes:
        at = random.randrange(self.header_end)
        return self.original[:at] + self.original[at + random.choice([1, 8, 32]) :]

    def _repeat_bytes(self, random: Random) -> bytes:
        at = random.randrange(self.header_end)
        return self.original[:at] + self.original[at : at + random.choice([1, 8, 32])] + self.original[at:]
