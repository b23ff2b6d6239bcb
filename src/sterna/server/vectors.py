"""Vectors of texts, shortened."""

from __future__ import annotations

import numpy as np


def cut(vectors: np.ndarray, dimensions: int | None) -> np.ndarray:
    """The first `dimensions` numbers of each vector, at length 1 again; all of them for None. float32 `[n, numbers]`"""
    if dimensions is None:
        return vectors
    vectors = vectors[:, :dimensions]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
