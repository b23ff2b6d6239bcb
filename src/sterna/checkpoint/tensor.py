"""One description of a tensor, read by everyone: name, shape, encoding and where its bytes lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class Encoding(str, Enum):
    """How the bytes of a tensor encode its values (GGUF's names, and the hub's packed format)."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q6_K = "q6_k"
    I2_S = "i2_s"


@dataclass(frozen=True)
class Tensor:
    """A named matrix or vector whose bytes stay where they are (usually in a mapped file).

    `shape` is row-major, `(out_features, in_features)` for a matrix. `data` is a read-only uint8 vector of exactly
    the bytes that the encoding needs (for I2_S: the codes alone, without the file's trailing scale).
    `scale` multiplies ternary codes: `W = scale * codes`; it is 1.0 for every other encoding.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    data: np.ndarray
    scale: float = 1.0
