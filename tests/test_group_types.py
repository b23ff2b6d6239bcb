"""GGUF's numbers of the group-scaled types: several forks gave one number to different blocks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sterna import LLM, _native
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, UnsupportedError
from sterna.files.gguf import read_gguf
from sterna.files.gguf.by_size import find_by_size
from sterna.tensor.decode import decode
from sterna.tensor.encodings import Encoding
from sterna.ternary.group_scaled import PQ2_0, Q1_0, Q1_0_G32, Q2_0, Fields
from sterna.ternary.tq import PTQ1_0, Trits

from . import helpers
from .tl_files import Raw, write_raw

MODEL = helpers.replace(helpers.QWEN3, hidden_size=128, intermediate_size=256, rope_attention_factor=1.0)
TOKENS = [5, 17, 3, 90, 41]
TYPES: dict[str, tuple[int, Fields | Trits]] = {
    "Q1_0": (41, Q1_0),
    "Q1_0 in blocks of 32": (40, Q1_0_G32),
    "Q2_0": (42, Q2_0),
    "Q2_0 of 2026-04": (42, PQ2_0),
    "PQ2_0": (142, PQ2_0),
    "PTQ1_0": (143, PTQ1_0),
}
"""The number and the packing of every type that Bonsai files have had."""


def write(path: Path, number: int, packing: Fields | Trits) -> dict[str, np.ndarray]:
    """A model with all its matrices in one type; returns their values."""
    random = np.random.default_rng(3)
    raw, values = [], {}
    for name, tensor in helpers.tiny_tensors(MODEL).items():
        if len(tensor.shape) == 1:
            raw.append(Raw(name, tensor.shape, 0, tensor.data.tobytes()))
            continue
        binary = isinstance(packing, Fields) and packing.bits == 1
        codes = random.choice(np.array([-1, 1] if binary else [-1, 0, 1], np.int8), tensor.shape)
        scales = random.uniform(0.02, 0.1, (len(codes), codes.shape[1] // packing.block)).astype(np.float16)
        raw.append(Raw(name, tensor.shape, number, packing.pack(codes, scales).tobytes()))
        values[name] = codes * np.repeat(scales.astype(np.float32), packing.block, axis=1)
    write_raw(path, helpers.gguf_metadata(MODEL), raw)
    return values


@pytest.mark.parametrize("number", [42, 43])
def test_both_numbers_of_stq1_0_are_read(number: int) -> None:
    (place,) = find_by_size(number, (2048, 2048), 2048 * 2048 // 256 * 42, 32)
    assert place.encoding is Encoding.STQ1_0 and place.scale_at is None


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_bonsai_files_loads_and_runs(name: str, tmp_path: Path) -> None:
    """BONSAI.md, complaint 2: `invalid ggml type 41/42/142/143` in other programs."""
    values = write(tmp_path / "m.gguf", *TYPES[name])
    tensors = open_checkpoint(tmp_path / "m.gguf").load().tensors
    for matrix, expected in values.items():
        assert np.array_equal(decode(tensors[matrix]), expected), matrix
    packed = LLM(tmp_path / "m.gguf", threads=1, kv="f32", activations="float").logits(TOKENS)
    convert(tmp_path / "m.gguf", tmp_path / "f32.gguf", type="f32", head="f32", verify=True)
    plain = LLM(tmp_path / "f32.gguf", threads=1, kv="f32", activations="float").logits(TOKENS)
    most = 2e-3 if TYPES[name][1] is Q1_0_G32 else 1e-5  # it becomes Q4_0, which always takes int15
    assert helpers.relative_error(plain, packed) < most


@pytest.mark.parametrize(("packing", "encoding"), [(Q2_0, Encoding.Q2_0), (PQ2_0, Encoding.PQ2_0)])
def test_both_groups_of_type_42_are_read(packing: Fields, encoding: Encoding, tmp_path: Path) -> None:
    """BONSAI.md, complaint 1: `has offset 337715200, expected 357580800` for files whose groups are of 128 weights."""
    write(tmp_path / "m.gguf", 42, packing)
    found = {tensor.encoding for tensor in read_gguf(tmp_path / "m.gguf").tensors.values() if len(tensor.shape) == 2}
    assert found == {encoding}
    room = {Encoding.PQ2_0: 337_715_200, Encoding.Q2_0: 357_580_800}[encoding]
    (place,) = find_by_size(42, (248_320, 5120), room, 32)
    assert place == (encoding, room, None)


def test_types_that_are_not_read_are_named(tmp_path: Path) -> None:
    """BONSAI.md, complaint 2: where a type is not supported, the error says whose it is."""
    for number, said in ((135, "IQ2_BN of ik_llama.cpp"), (23, "IQ4_XS"), (144, "number 144")):
        write(tmp_path / "m.gguf", number, PQ2_0)
        with pytest.raises(UnsupportedError, match=rf"'[\w.]+' has the type {said}, which Sterna does not read"):
            open_checkpoint(tmp_path / "m.gguf")
    raw = [Raw("token_embd.weight", (96, 128), 40, bytes(96 * 128 // 64 * 36))]
    write_raw(tmp_path / "nvfp4.gguf", helpers.gguf_metadata(MODEL), raw)
    with pytest.raises(UnsupportedError, match="NVFP4 of llama.cpp .*Q1_0_G32 of PrismML's fork"):
        open_checkpoint(tmp_path / "nvfp4.gguf")


@pytest.mark.parametrize("name", ["Q2_0", "PTQ1_0", "Q1_0"])
def test_every_instruction_set_gives_the_same_bits_and_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BONSAI.md, complaints 5, 6 and 9: no kernels but for AVX-512, or for one processor; a slow path chosen silently.

    One build has kernels for all of them, `STERNA_ISA` takes another, and a model says which it runs with.
    """
    write(tmp_path / "m.gguf", *TYPES[name])
    monkeypatch.delenv("STERNA_ISA", raising=False)
    best = LLM(tmp_path / "m.gguf", threads=1)
    assert best.isa == _native.available_isas()[0] and f", {best.isa}>" in repr(best)
    expected = best.logits(TOKENS)
    for isa in _native.available_isas():
        monkeypatch.setenv("STERNA_ISA", isa)
        llm = LLM(tmp_path / "m.gguf", threads=1)
        assert f", {isa}>" in repr(llm) and np.array_equal(llm.logits(TOKENS), expected)
    monkeypatch.setenv("STERNA_ISA", "avx1024")
    with pytest.raises(ArgumentError, match="this processor and build have .*scalar"):
        LLM(tmp_path / "m.gguf", threads=1)


ONE_PASS = """
import sys, numpy
from sterna import LLM
llm = LLM(sys.argv[1], threads=1)
assert llm.isa == "scalar", llm.isa
numpy.save(sys.argv[2], llm.logits([int(token) for token in sys.argv[3:]]))
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not shutil.which("qemu-x86_64"), reason="needs an x86-64 and Debian's qemu-user"
)
def test_a_processor_without_avx_runs_the_same_model(tmp_path: Path) -> None:
    """BONSAI.md, complaint 7: an illegal instruction on processors without AVX."""
    write(tmp_path / "m.gguf", *TYPES["Q2_0"])
    old = ["qemu-x86_64", "-cpu", "Nehalem", os.path.realpath(sys.executable)]
    arguments = [str(tmp_path / "m.gguf"), str(tmp_path / "logits.npy"), *map(str, TOKENS)]
    environment = {name: value for name, value in os.environ.items() if name != "STERNA_ISA"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [*old, "-c", ONE_PASS, *arguments], env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert np.array_equal(np.load(tmp_path / "logits.npy"), LLM(tmp_path / "m.gguf", threads=1).logits(TOKENS))
