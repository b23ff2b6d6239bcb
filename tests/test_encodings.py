"""Python and the engine describe the same encodings."""

from __future__ import annotations

from sterna import _native
from sterna.tensor.encodings import Encoding, FloatBlocks


def test_the_engine_has_the_rows_of_python() -> None:
    formats = _native.formats()
    rows = [Encoding(name) for name, *_ in formats]
    assert formats == [(row.value, row.block, row.block_bytes, row.activations) for row in rows]


def test_what_the_engine_lacks_becomes_another_encoding_at_load() -> None:
    lacking = set(Encoding) - {Encoding(name) for name, *_ in _native.formats()}
    assert all(encoding.is_ternary for encoding in lacking)


def test_every_float_encoding_has_a_fallback_that_takes_any_row() -> None:
    for encoding in Encoding:
        steps = 0
        while not encoding.is_float:
            encoding, steps = encoding.fallback, steps + 1
            assert encoding.is_written and isinstance(encoding.packing, FloatBlocks) and steps < 4
