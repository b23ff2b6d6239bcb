"""Products and attention on shapes that fill no tile, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from sterna.gpu import runner as runner_module
from sterna.gpu import tiles
from sterna.model.operations import Add, Attention, Linear, Rope
from sterna.model.oracle import attention, linear, rope, rounded
from sterna.model.plan import CacheGroup, Head, Plan
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.ternary.i2s import pack_i2s

from .units import close, run


@pytest.fixture(autouse=True)
def _tiles_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "interpreted", lambda: False)


SHAPES = [(2, 256), (5, 2560), (16, 6912), (33, 8640), (1, 2560)]
ALL = [(tokens, columns) for columns in (128, 256, 2560, 6912, 8640) for tokens in (1, 2, 5, 16, 33)]
SLOW = [pytest.param(*shape, marks=pytest.mark.slow) for shape in ALL if shape not in SHAPES]


@pytest.mark.parametrize(("tokens", "columns"), [*SHAPES, *SLOW])
def test_ternary_products_have_the_oracles_bits(tokens: int, columns: int) -> None:
    rng = np.random.default_rng(columns + tokens)
    rows = 38
    codes = rng.integers(-1, 2, (rows, columns), np.int8)
    codes[0], codes[1] = 1, -1
    x = rng.standard_normal((tokens, columns), np.float32)
    x[0] = 3.0  # the largest sum
    matrix = Tensor("w", codes.shape, Encoding.I2_S, pack_i2s(codes), 0.37)
    plan = Plan(8, Head("w"), "y", {"x": columns, "y": rows})
    got = run(plan, [Linear("y", "x", "w", None, "int8")], {"w": matrix}, {"x": x}, [0] * tokens)
    assert np.array_equal(got, linear((codes, 0.37), x, "int8"))


def test_products_with_biases_are_added_to_what_is_there() -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(-1, 2, (40, 256), np.int8)
    bias = rng.standard_normal(40).astype(np.float32)
    tensors = {
        "w": Tensor("w", codes.shape, Encoding.I2_S, pack_i2s(codes), 0.5),
        "b": Tensor("b", (40,), Encoding.F32, bias.view(np.uint8)),
    }
    plan = Plan(8, Head("w"), "z", {"x": 256, "y": 40, "z": 40})
    steps = [Linear("y", "x", "w", "b", "int8"), Add("z", "z", "y")]
    for tokens in (1, 3):
        x, z = rng.standard_normal((tokens, 256), np.float32), rng.standard_normal((tokens, 40), np.float32)
        got = run(plan, steps, tensors, {"x": x, "z": z}, [0] * tokens)
        assert close(got, z + (linear((codes, 0.5), x, "int8") + bias))


@pytest.mark.parametrize(
    ("kv", "splits", "window", "start"),
    [
        ("f16", 2, 6, 58),
        pytest.param("f16", 2, 30, 0, marks=pytest.mark.slow),
        pytest.param("int8", 2, None, 0, marks=pytest.mark.slow),
        pytest.param("f32", 1, 30, 0, marks=pytest.mark.slow),
        pytest.param("f32", 2, None, 0, marks=pytest.mark.slow),
    ],
)
def test_attention_reads_the_blocks_of_its_table(
    kv: str, splits: int, window: int | None, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if splits > 1:
        monkeypatch.setattr(runner_module, "SPLITS", splits)
        monkeypatch.setattr(runner_module, "LONG_CONTEXT", 1)
        monkeypatch.setattr(runner_module, "FEW_TOKENS", 70)
    rng, n, size = np.random.default_rng(3), 70 - start, 24
    at = start + np.arange(n)
    widths = {"q": 2 * size, "k": size, "v": size, "a": 2 * size}
    plan = Plan(8, Head("w"), "a", widths, {"full": CacheGroup(2, 1, size, window)})
    plan.frequencies["rope"] = [1 / 3**i for i in range(size // 4)]
    unit = [
        Rope("q", "q", 2, "half", "rope"),
        Rope("k", "k", 1, "half", "rope"),
        Attention("a", "q", "k", "v", "full", 1, 2, 0.3),
    ]
    x = {name: rng.standard_normal((n, widths[name])).astype(np.float32) for name in "qkv"}
    parts = {name: rows.reshape(n, -1, size) for name, rows in x.items()}
    dtype = {"f16": np.float16, "int8": np.int8, "f32": np.float32}[kv]
    q, k = (rope(parts[name], at, plan.frequencies["rope"], "half") for name in "qk")
    expected = attention(q, rounded(k, dtype), rounded(parts["v"], dtype), at, 0.3, window)
    got = run(plan, unit, {}, x, [0] * n, kv, start)
    whole = slice(0 if window is None or start == 0 else window - 1, n)  # which see no position before the start
    # Keys that differ in the last bit of float32 may be rounded to the next number of a shorter type.
    assert close(got[whole], expected.reshape(n, -1)[whole], 1e-5 if kv == "f32" else 2e-3)
