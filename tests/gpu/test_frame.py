"""The buffers of passes, on the CPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from sterna.gpu.frame import Frame  # noqa: E402
from sterna.model.plan import CacheGroup, Head, Plan  # noqa: E402


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_buffers_that_found_no_memory_are_made_by_the_next_pass(refused: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(Plan(8, Head("w"), "x", {"x": 4}, {"full": CacheGroup(1, 1, 8, None)}), torch.device("cpu"))
    frame.reserve(1, 1)
    serial, zeros, calls = frame.serial, torch.zeros, 0

    def limited(*shape: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == refused:
            raise torch.cuda.OutOfMemoryError
        return zeros(*shape, **options)

    monkeypatch.setattr(torch, "zeros", limited)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        frame.reserve(129, 3)
    frame.reserve(129, 3)
    assert frame.inputs.shape == (3, 256) and frame.view("x").rows.shape == (256, 4)
    assert [table.shape for table in frame.tables] == [(256, 3)] and frame.serial > serial
    frame.reserve(2, 3)
    assert frame.tokens == 256 and calls == refused + 3


def test_tables_grow_by_themselves() -> None:
    frame = Frame(Plan(8, Head("w"), "x", {"x": 4}, {"full": CacheGroup(1, 1, 8, None)}), torch.device("cpu"))
    frame.reserve(1, 3)
    rows, serial = frame.view("x").rows, frame.serial
    frame.reserve(100, 4)  # to twice as many: a recorded pass holds no longer then
    assert frame.view("x").rows is rows and frame.width == 6 and frame.serial == serial + 1
