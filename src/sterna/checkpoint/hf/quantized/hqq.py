"""HQQ (hqq/core/quantize.py, bitpack.py), 1, 2, 4 or 8 bits: the matrix as [R, group] (axis 1) or [group, R] (axis 0),

    W_q uint8, scale and zero float [R, 1] or [1, R]: w = (code - zero) * scale

8 / bits codes that lie a whole part of the first axis apart share a byte, the first of them in the high bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.checkpoint.hf.quantized.method import Method
from sterna.checkpoint.hf.quantized.module import Module
from sterna.errors import UnsupportedError
from sterna.tensor.tensor import TensorStream

SETTINGS = (
    "axis group_size nbits shape channel_wise optimize round_zero packing unpack_view_dtype view_as_float quant_scale "
    "quant_zero compute_dtype stores_quant_config encoded_state_dict offload_meta"
).split()
"""What else HQQLinear keeps of each matrix; the shapes of the tensors say the same."""
BITS = (1, 2, 4, 8)


def check(section: Mapping[str, Any]) -> None:
    """Raises UnsupportedError where scales or zero points are quantised, too."""
    config = section.get("quant_config")
    for key in ("scale_quant_params", "zero_quant_params"):
        if isinstance(config, Mapping) and config.get(key) is not None:
            raise UnsupportedError(f"its quantization_config has {key}, which Sterna does not read.")


def read(module: Module, section: Mapping[str, Any]) -> list[TensorStream]:
    """The matrix; with groups along its rows (axis 0) in float32."""
    rows, columns = module.shape
    packed = module.integers("W_q", ("U8",))
    scales, zeros = module.floats("scale").reshape(-1), module.floats("zero").reshape(-1)
    count = len(scales)
    if packed.ndim != 2 or not count or len(zeros) != count or rows * columns % count:
        raise module.broken("its W_q, scale and zero do not fit together")
    group, axis = rows * columns // count, 0 if count > 1 and module.parts["scale"].shape == (1, count) else 1
    bits, rest = divmod(8 * packed.size, rows * columns)
    first = (group, count)[axis] * bits // 8
    if bits not in BITS or rest or packed.shape != (first, (count, group)[axis]):
        raise UnsupportedError(f"its matrix {module.source!r} is packed by HQQ in a way that Sterna does not read.")

    def codes() -> np.ndarray:
        shifts = range(8 - bits, -1, -bits)
        return np.concatenate([packed >> np.uint8(shift) & np.uint8((1 << bits) - 1) for shift in shifts])

    if axis == 0:
        return [module.matrix(lambda: ((codes() - zeros) * scales).reshape(module.shape))]
    if columns % group:
        return [module.matrix(lambda: ((codes() - zeros[:, None]) * scales[:, None]).reshape(module.shape))]
    by_row = [values.reshape(rows, -1) for values in (scales, zeros)]
    return [module.grouped(bits, by_row[0], by_row[1], lambda: codes().reshape(module.shape))]


HQQ = Method("hqq", "W_q", ("scale", "zero", *SETTINGS), check, read)
