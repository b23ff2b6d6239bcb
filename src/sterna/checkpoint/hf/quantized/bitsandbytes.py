"""bitsandbytes, 4 bits (nf4 or fp4; functional.py, QuantState.as_dict): codes of a table of 16 numbers, and a scale for
each block of the flattened matrix:

    weight uint8, the high nibble first; weight.quant_map float32 [16]; weight.absmax float32 [blocks]
    weight.quant_state.bitsandbytes__nf4: JSON, with shape and blocksize

Double quantised: `absmax` are codes, uint8, of `nested_quant_map` [256], which `nested_absmax` of blocks of their own
scales, plus `nested_offset`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method, expect
from sterna.checkpoint.hf.quantized.module import Module
from sterna.errors import UnsupportedError, shown
from sterna.files.json_values import number
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import TensorStream

STATES = ("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4")
TYPES = {"float16": Encoding.F16, "bfloat16": Encoding.BF16, "float32": Encoding.F32}
MAX_BLOCK = 1 << 16


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError for 8 bits."""
    if section.get("load_in_4bit") is not True:
        raise UnsupportedError(
            "its quantization_config asks for bitsandbytes without load_in_4bit, and Sterna reads 4 bits."
        )
    expect(section, "bnb_4bit_quant_storage", ("uint8",), "uint8")


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix in the type that bitsandbytes rounds it to for a product (`dtype` of the quant_state)."""
    count = module.shape[0] * module.shape[1]
    state = _state(module)
    if state.get("shape") != list(module.shape):
        raise module.broken(f"its quant_state gives another shape than {list(module.shape)}")
    dtype = state.get("dtype", "float16")
    if not isinstance(dtype, str) or dtype not in TYPES:
        raise module.broken(f"its quant_state names the dtype {shown(dtype)}")
    block = _size(module, state, "blocksize")
    table = module.floats("weight.quant_map", (16,))
    packed = module.integers("weight", ("U8",)).reshape(-1)
    if len(packed) != -(-count // 2):
        raise module.broken(f"its weight has {len(packed)} bytes for {count} codes")
    scales = _scales(module, state, -(-count // block))

    def values() -> np.ndarray:
        codes = np.stack([packed >> 4, packed & 15], axis=-1).reshape(-1)[:count]
        return (table[codes] * np.repeat(scales, block)[:count]).reshape(module.shape)

    return [module.matrix(values, TYPES[dtype])]


def _state(module: Module) -> dict[str, Any]:
    ending = next((name for name in STATES if name in module.parts), None)
    if ending is None:
        raise module.broken("it has no quant_state of nf4 or fp4")
    try:
        state = json.loads(bytes(module.integers(ending, ("U8",)).reshape(-1)))
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise module.broken("its quant_state is no JSON object")
    return state


def _size(module: Module, state: Mapping[str, Any], key: str) -> int:
    size = state.get(key)
    if type(size) is not int or not 0 < size <= MAX_BLOCK:
        raise module.broken(f"its quant_state has no usable {key}")
    return size


def _scales(module: Module, state: Mapping[str, Any], count: int) -> np.ndarray:
    """The scale of each block, float32."""
    if "weight.nested_absmax" not in module.parts:
        return module.floats("weight.absmax", (count,))
    codes = module.integers("weight.absmax", ("U8",), (count,))
    block, offset = _size(module, state, "nested_blocksize"), number(state.get("nested_offset"), "nested_offset")
    if not abs(offset) <= float(np.finfo(np.float32).max):
        raise module.broken("its quant_state has a nested_offset that float32 does not hold")
    table = module.floats("weight.nested_quant_map", (256,))
    scales = module.floats("weight.nested_absmax", (-(-count // block),))
    return table[codes] * np.repeat(scales, block)[:count] + np.float32(offset)


BITSANDBYTES = Method(
    "bitsandbytes",
    "weight.quant_map",
    ("weight", "weight.absmax", "weight.nested_absmax", "weight.nested_quant_map", *STATES),
    check,
    read,
)
