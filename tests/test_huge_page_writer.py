"""Files that are written in whole huge pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from sterna.files import huge_page_writer
from sterna.files.huge_page_writer import HUGE_PAGE, HugePageWriter


def test_the_system_gets_whole_pages_and_every_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []

    class Recorded(io.FileIO):
        def write(self, data: memoryview, /) -> int:  # type: ignore[override]
            writes.append((self.tell(), len(data)))
            return super().write(data)

    monkeypatch.setattr(huge_page_writer.io, "FileIO", Recorded)
    sizes = [24, HUGE_PAGE - 24, HUGE_PAGE, 0, 3, 5 * HUGE_PAGE + 7, 100]
    chunks = [np.random.default_rng(size).integers(0, 256, size).astype(np.uint8) for size in sizes]
    with HugePageWriter(tmp_path / "file") as file:
        assert [file.write(chunk.data) for chunk in chunks] == sizes
    assert np.array_equal(np.fromfile(tmp_path / "file", np.uint8), np.concatenate(chunks))
    assert writes == [(page * HUGE_PAGE, HUGE_PAGE) for page in range(7)] + [(7 * HUGE_PAGE, 110)]


def test_items_of_more_than_a_byte_count_in_bytes(tmp_path: Path) -> None:
    with HugePageWriter(tmp_path / "file") as file:
        assert file.write(np.arange(3, dtype=np.float32).data) == 12
    assert np.array_equal(np.fromfile(tmp_path / "file", np.float32), [0, 1, 2])
