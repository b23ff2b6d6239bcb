"""Weights in memory of their own or, with `mmap`, in their mapped file: the same bits, and no memory taken twice."""

from __future__ import annotations

import gc
import mmap as system
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.engine import native
from sterna.engine.backend import Span
from sterna.engine.machine import available_memory
from sterna.engine.native import NativeBackend, has_room
from sterna.errors import UnsupportedError
from sterna.files.mapped import map_file
from sterna.model.operations import Embed, Linear
from sterna.model.plan import Head, Plan
from sterna.tensor.encodings import Encoding, FloatBlocks
from sterna.tensor.pages import mapping, release
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary

from . import helpers
from .command import sterna

# Tiles are repacked, and Q1_0_G32 becomes Q4_0, before the engine sees them.
ENCODINGS = [encoding for encoding in Encoding if not encoding.is_tiled and encoding is not Encoding.Q1_0_G32]
CASES = [(encoding, kind) for encoding in ENCODINGS for kind in sorted({"none", encoding.activations})]
CASES += [(Encoding.I2_S, "int15")]
ROWS_AS_THEY_LIE = (Encoding.Q4_0, Encoding.Q8_0, Encoding.Q6_K)
"""Heads for which `mmap` takes kernels that add floats in another order than those of panels."""
SMAPS = Path("/proc/self/smaps")
TOKENS = 9


def matrix(encoding: Encoding, rows: int = 100, columns: int = 768) -> Tensor:
    """A random matrix; of TQ1_0 and TQ2_0 one whose blocks have scales of their own."""
    rng = np.random.default_rng(3)
    if encoding is Encoding.I2_S:
        return pack_ternary("w", rng.integers(-1, 2, (rows, columns)).astype(np.int8), 0.25, encoding)[0]
    if encoding.activations == "none" and isinstance(encoding.packing, FloatBlocks) and encoding.packing.encode:
        data = encoding.packing.encode(rng.standard_normal(rows * columns, np.float32))
        return Tensor("w", (rows, columns), encoding, data.reshape(-1).view(np.uint8))
    return helpers.random_blocks(encoding, rows, columns)


def mapped(tensor: Tensor, path: Path) -> Tensor:
    """The tensor in a mapped file, in which it begins in the middle of a page."""
    path.write_bytes(bytes(5024) + tensor.data.tobytes() + bytes(100))
    with path.open("rb") as file:
        data = np.frombuffer(map_file(file), np.uint8)[5024 : 5024 + tensor.data.nbytes]
    return Tensor(tensor.name, tensor.shape, tensor.encoding, data, tensor.scale)


def loaded(w: Tensor, activations: str, as_head: bool = False, **options: Any) -> NativeBackend:
    """Rows of a table, multiplied by `w` in a layer or as the head."""
    rows, columns = w.shape
    table = helpers.float_tensor("table", np.random.default_rng(7).standard_normal((TOKENS, columns)))
    tensors = {"table": table, "w": w, "zero": helpers.float_tensor("zero", np.zeros((1, rows)))}
    group_size = w.encoding.block if w.encoding.is_int4 and activations == "int8" else 0
    layer: list[Any] = [] if as_head else [Linear("y", "x", "w", None, activations, group_size)]
    plan = Plan(
        TOKENS,
        Head("w", activations, group_size) if as_head else Head("zero"),
        "x" if as_head else "y",
        {"x": columns} | ({} if as_head else {"y": rows}),
        operations=[Embed("x", "table"), *layer],
    )
    return NativeBackend(plan, tensors, isa="", threads=2, blocks=1, **options)


def result(backend: NativeBackend, as_head: bool, n: int = TOKENS) -> np.ndarray:
    hidden = backend.forward([Span(range(n), 0, [], n)])
    return backend.logits(hidden) if as_head else hidden


def file_kilobytes(path: Path) -> int:
    """How much of a mapped file is in this process's memory."""
    sizes, inside = 0, False
    for line in SMAPS.read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            sizes += int(line.split()[1])
    return sizes


@pytest.mark.parametrize("as_head", [False, True])
@pytest.mark.parametrize(("encoding", "activations"), CASES)
def test_the_bits_are_the_same_wherever_weights_lie(
    encoding: Encoding, activations: str, as_head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = matrix(encoding)
    in_memory, in_file = matrix(encoding), mapped(w, tmp_path / "w")
    before = (tmp_path / "w").read_bytes()
    expected = result(loaded(in_file, activations, as_head, mmap=True), as_head)
    assert np.array_equal(result(loaded(in_memory, activations, as_head, mmap=True), as_head), expected)
    if as_head and activations == "int15" and encoding in ROWS_AS_THEY_LIE:
        settled = result(loaded(in_file, activations, as_head, mmap=False), as_head)
        np.testing.assert_allclose(settled, expected, rtol=1e-5, atol=1e-4 * np.abs(expected).max())
        expected = settled
    for tensor in (in_file, in_memory):
        for choice in (None, False):
            assert np.array_equal(result(loaded(tensor, activations, as_head, mmap=choice), as_head), expected)
    monkeypatch.setattr(native, "SETTLING_AT_LOAD", 0.0)
    backend = loaded(in_file, activations, as_head, mmap=False)
    for n in (TOKENS, 1, 4, TOKENS):  # settled between the first passes
        assert np.array_equal(result(backend, as_head, n), expected[:n])
    assert backend._model.settled
    assert (tmp_path / "w").read_bytes() == before


@pytest.mark.parametrize("encoding", [Encoding.I2_S, Encoding.Q4_K])
def test_weights_are_settled_at_load_or_between_passes_or_when_asked(
    encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = matrix(encoding)
    assert loaded(w, encoding.activations, mmap=False)._model.settled
    monkeypatch.setattr(native, "SETTLING_AT_LOAD", 0.0)
    backend = loaded(w, encoding.activations, mmap=False)
    result(backend, False)
    assert not backend._model.settled  # the first pass waits for nothing
    backend.settle()
    assert backend._model.settled
    assert loaded(w, encoding.activations, mmap=True)._model.settled == (encoding is Encoding.I2_S)


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's smaps")
@pytest.mark.parametrize("encoding", [Encoding.I2_S, Encoding.F16, Encoding.Q4_K, Encoding.Q8_0])
def test_pages_of_the_file_are_dropped_once_weights_are_in_memory(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "SETTLING_AT_LOAD", 0.0)
    w = mapped(matrix(encoding, 4096, 4096), tmp_path / "w")  # Q8_0 settles in two parts
    size = w.data.nbytes // 1024
    backend = loaded(w, encoding.activations, mmap=False)
    before = result(backend, False)
    assert not backend._model.settled
    backend.settle()
    assert np.array_equal(result(backend, False), before)
    assert file_kilobytes(tmp_path / "w") < size / 4
    del backend
    in_place = loaded(w, encoding.activations, mmap=True)
    result(in_place, False)
    assert file_kilobytes(tmp_path / "w") > size / 2 or encoding is Encoding.Q4_K


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux's smaps")
def test_an_embedding_gives_back_the_pages_around_its_rows(tmp_path: Path) -> None:
    table = mapped(matrix(Encoding.F16, 8192, 1024), tmp_path / "w")
    tensors = {"w": table, "head": helpers.float_tensor("head", np.zeros((1, 1024)))}
    plan = Plan(8192, Head("head"), "x", {"x": 1024}, operations=[Embed("x", "w")])
    backend = NativeBackend(plan, tensors, isa="", threads=2, blocks=1, mmap=False)
    rows = backend.forward([Span(range(0, 8192, 64), 0, [], 128)])
    assert file_kilobytes(tmp_path / "w") < table.data.nbytes // 1024 / 4
    assert np.array_equal(rows, table.data.view(np.float16).reshape(8192, 1024)[::64].astype(np.float32))


def test_arrays_that_were_repacked_are_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def repack(blocks: np.ndarray, encoding: str) -> tuple[np.ndarray, np.ndarray]:
        codes, scales = to_i2s(blocks, encoding)
        made.append(weakref.ref(codes))
        return codes, scales

    to_i2s = _native.tq_to_i2s
    monkeypatch.setattr(_native, "tq_to_i2s", repack)
    codes = np.random.default_rng(0).integers(-1, 2, (64, 256)).astype(np.int8)
    w, _ = pack_ternary("w", codes, 0.5, Encoding.TQ2_0)  # one scale: it becomes panels
    backends = [loaded(w, "int8", mmap=choice) for choice in (False, True)]
    gc.collect()
    assert [reference() is None for reference in made] == [True, False]
    monkeypatch.setattr(native, "SETTLING_AT_LOAD", 0.0)
    backends.append(loaded(w, "int8", mmap=False))
    assert made[2]() is not None
    for _ in range(3):
        assert np.array_equal(result(backends[2], False), result(backends[1], False))
    gc.collect()
    assert made[2]() is None


def test_weights_stay_in_the_file_where_memory_has_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    w = matrix(Encoding.F16, 1024, 1024)
    plan = Plan(9, Head("w"), "x", {"x": 1024}, operations=[Embed("x", "w")])
    size = w.data.nbytes
    for available, room in ((None, True), (size, False), (size * 5 // 4 + native.MARGIN, True), (0, False)):
        monkeypatch.setattr(native, "available_memory", lambda available=available: available)
        assert has_room(plan, {"w": w}) is room
    file = mapped(w, tmp_path / "w")
    result(loaded(file, "none"), False)
    if SMAPS.exists():
        assert file_kilobytes(tmp_path / "w") > size // 1024 / 2


def test_weights_stay_in_the_file_where_the_system_refuses_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(plan: Any, tensors: Any, isa: str, threads: int, in_place: bool, settle_s: float = 0.0) -> Any:
        if not in_place:
            raise MemoryError
        return model(plan, tensors, isa, threads, in_place, settle_s)

    model = _native.Model
    monkeypatch.setattr(_native, "Model", refusing)
    w = matrix(Encoding.I2_S)
    expected = result(loaded(w, "int8", mmap=True), False)
    assert np.array_equal(result(loaded(w, "int8"), False), expected)
    with pytest.raises(UnsupportedError, match="memory for the weights"):
        loaded(w, "int8", mmap=False)


def test_available_memory_is_what_system_and_control_groups_leave(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert available_memory(proc, groups) is None
    (proc / "meminfo").write_text("MemTotal:       9000 kB\nMemAvailable:   8000 kB\nHugePages_Total:       0\n")
    assert available_memory(proc, groups) == 8000 * 1024
    (proc / "self" / "cgroup").write_text("1:name=systemd:/\n0::/user/shell\n")
    (groups / "user" / "shell").mkdir(parents=True)

    def limit(group: Path, limit: str, usage: int, names: tuple[str, str] = ("memory.max", "memory.current")) -> None:
        (group / names[0]).write_text(f"{limit}\n")
        (group / names[1]).write_text(f"{usage}\n")
        (group / "memory.stat").write_text("anon 5\nactive_file 100\ninactive_file 1000\n")

    limit(groups / "user" / "shell", "max", 5000)
    assert available_memory(proc, groups) == 8000 * 1024
    limit(groups / "user", "90000", 5000)
    assert available_memory(proc, groups) == 90000 - 5000 + 1100
    limit(groups, "4000", 9000)
    assert available_memory(proc, groups) == 0
    (proc / "self" / "cgroup").write_text("4:cpu,memory:/docker/ab\n")  # v1, seen from inside the container
    (groups / "memory").mkdir()
    limit(groups / "memory", "70000", 5000, ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    assert available_memory(proc, groups) == 70000 - 5000 + 1100


def test_only_mappings_that_are_only_read_give_pages_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * 65536)
    with (tmp_path / "file").open("rb") as file:
        private = system.mmap(file.fileno(), 0, access=system.ACCESS_COPY)
        read_only = map_file(file)
    private[:] = b"b" * 65536
    data = np.frombuffer(private, np.uint8)
    assert mapping(data) is None and mapping(np.zeros(9, np.uint8)) is None
    assert mapping(np.frombuffer(read_only, np.uint8)[5:].reshape(-1)) is read_only
    release(data)
    assert (data == ord("b")).all()


def test_the_option_and_its_flags() -> None:
    texts = [LLM(mmap=choice).generate("Once", max_tokens=8, temperature=0.0) for choice in (None, True, False)]
    for flags in ((), ("--mmap",), ("--no-mmap",)):
        done = sterna("run", "-p", "Once", "-n", "8", "--temp", "0", *flags)
        assert done.returncode == 0 and done.stdout.rstrip("\n") == texts[0].rstrip("\n")
    assert texts[0] == texts[1] == texts[2]
