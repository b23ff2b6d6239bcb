"""All kernels compile for GPUs that are not here, with the instructions that make them fast, and without spills."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from sterna.gpu.kernels import attention, matrices, rows, ternary  # noqa: E402
from sterna.gpu.tiles import TILES  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels cannot be compiled"
)

TYPES = {
    "weights": "*u8",
    "codes": "*i8",
    "sums": "*i32",
    "ids": "*i32",
    "positions": "*i32",
    "sequences": "*i32",
    "table": "*i32",
    "other": "*i32",
    "keys": "*fp16",
    "values": "*fp16",
    "eps": "fp32",
    "scale": "fp32",
    "factor": "fp32",
    "normalizer": "fp32",
}
"""Parameters that are not `*fp32` where they are pointers, and not `i32` where they are numbers."""
NUMBERS = re.compile(r"tokens|rows|columns|padded|span|window|width|k_at|v_at|first_block|table_width|.*stride|stride")
INT8, DP4A = r"mma\S*s32\.s8\.s8|tcgen05\.mma\S*kind::i8", r"dp4a"


class Case(NamedTuple):
    kernel: Any
    constants: dict[str, Any]
    instruction: str = ""
    warps: int = 4
    types: dict[str, str] = {}


def tile(name: str) -> dict[str, int]:
    return {"ROWS": TILES[name].rows, "TOKENS": TILES[name].tokens}


ADDED = {"RESIDUAL": True, "BIAS": True}
SHAPE = {"HEADS": 32, "KV_HEADS": 8, "SIZE": 128, "WIDTH": 128}
WORDS = {"weights": "*i32", "codes": "*i32"}
BYTES = {"keys": "*i8", "values": "*i8"}
CASES = {
    "ternary row": Case(
        ternary.ternary_row_kernel,
        ADDED | {"INTERPRETED": False, "ROWS": TILES["ternary row"].rows, "WORDS": TILES["ternary row"].depth},
        DP4A,
        types=WORDS,
    ),
    **{
        f"ternary {name} by {blocks}": Case(
            ternary.ternary_kernel,
            ADDED | tile(name) | {"GROUP": 0, "PLANES": 1, "BLOCKS": blocks},
            INT8,
            TILES[name].warps,
        )
        for name in ("few", "some", "many")
        for blocks in {1, TILES[name].depth}
    },
    **{
        f"groups of {group}, {name}": Case(
            ternary.ternary_kernel,
            ADDED | tile(name) | {"GROUP": group, "PLANES": 2, "BLOCKS": 1},
            INT8,
            TILES[name].warps,
        )
        for group in (0, 32, 64, 128, 256)
        for name in ("few", "groups")
    },
    **{
        f"INT4 {group}, {planes} planes, {name}": Case(
            matrices.int4_kernel,
            ADDED | tile(name) | {"GROUP": group, "PLANES": planes, "STEP_GROUPS": planes == 1},
            INT8,
            TILES[name].warps,
            {"zeros": "*fp32"},
        )
        for group, planes in ((32, 1), (128, 1), (128, 2))
        for name in ("few", "groups")
    },
    **{
        f"bytes {group}, {name}": Case(
            matrices.bytes_kernel,
            ADDED | tile(name) | {"GROUP": group, "PLANES": 2},
            INT8,
            TILES[name].warps,
            {"weights": "*i8"},
        )
        for group in (16, 32)
        for name in ("few", "groups")
    },
    **{
        name: Case(
            matrices.float_kernel,
            ADDED | tile(name) | {"COLUMNS": TILES[name].depth},
            r"fma\.rn|mul\.f32|mul\.rn",
            types={"weights": "*fp16"},
        )
        for name in ("float row", "floats")
    },
    "embedding": Case(matrices.embed_kernel, {"KIND": "ternary", "GROUP": 128, "WIDTH": 1024}),
    "row": Case(
        rows.row_kernel, {"ACTIVATION": "relu2", "NORM": True, "PLANES": 1, "GROUP": 0, "WIDTH": 16384}, warps=16
    ),
    "row in groups": Case(
        rows.row_kernel, {"ACTIVATION": "silu", "NORM": False, "PLANES": 1, "GROUP": 128, "WIDTH": 16384}, warps=16
    ),
    "row of int15": Case(
        rows.row_kernel, {"ACTIVATION": "gelu", "NORM": True, "PLANES": 2, "GROUP": 0, "WIDTH": 16384}, warps=16
    ),
    "norm and sum": Case(rows.norm_add_kernel, {"WIDTH": 8192}, warps=16),
    "Hadamard": Case(rows.hadamard_kernel, {"SIGNS": True, "FORWARD": True, "BLOCK": 1024, "ROWS": 32, "COLUMNS": 128}),
    "rotation": Case(rows.rotate_kernel, {"WIDTH": 1024}),
    "heads": Case(
        attention.heads_kernel, SHAPE | {"PAIRS": 64, "INTERLEAVED": False, "NORM": True, "INT8": False}, warps=1
    ),
    "heads of int8": Case(
        attention.heads_kernel, SHAPE | {"PAIRS": 32, "INTERLEAVED": True, "NORM": False, "INT8": True}, "", 1, BYTES
    ),
    "attention": Case(attention.attention_kernel, SHAPE | {"INT8": False, "SPLITS": 8}, warps=8),
    "attention of int8": Case(attention.attention_kernel, SHAPE | {"INT8": True, "SPLITS": 1}, "", 8, BYTES),
    "parts of attention": Case(attention.merge_kernel, {"HEADS": 32, "SIZE": 128, "SPLITS": 8, "WIDTH": 128}, warps=1),
}
QUICK = ("ternary row", "ternary few by 4")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in CASES if name not in QUICK]


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_kernels_compile_without_spills(name: str, capability: int, tmp_path: Path) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    case = CASES[name]
    names = [each for each in case.kernel.arg_names if each not in case.constants]
    types = {each: (TYPES | case.types).get(each, "i32" if NUMBERS.fullmatch(each) else "*fp32") for each in names}
    if case.kernel is attention.attention_kernel:
        types["q_stride"] = "i32"
    aligned = {
        (case.kernel.arg_names.index(each),): [["tt.divisibility", 16]]
        for each, kind in types.items()
        if kind.startswith("*") or each in ("columns", "padded", "span", "out_stride", "x_stride")
    }
    signature = {each: types.get(each, "constexpr") for each in case.kernel.arg_names}
    source = ASTSource(case.kernel, signature, case.constants, aligned)
    options = {"num_warps": case.warps, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert re.search(case.instruction, compiled.asm["ptx"])
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    usage = subprocess.run([tool, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True).stdout
    assert re.search(r"STACK:0\b", usage) and re.search(r"LOCAL:0\b", usage), usage
