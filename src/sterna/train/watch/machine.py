"""How much of the machine's arithmetic a run uses."""

from __future__ import annotations

import time

import torch

from sterna.model.architecture import matrix_shapes
from sterna.model.config import ModelConfig

REPETITIONS = 3


def flops_per_token(config: ModelConfig) -> float:
    """Floating-point operations that training takes for a token: 6 for each weight of a matrix, the head's included,
    and 12 · layers · heads · head_dim · context for attention (PaLM, arXiv 2204.02311, appendix B)."""
    layer = sum(rows * columns for rows, columns in matrix_shapes(config).values())
    weights = config.num_layers * layer + config.vocab_size * config.hidden_size
    attention = config.num_layers * config.num_heads * config.head_dim * config.context_length
    return 6.0 * weights + 12.0 * attention


def peak_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of this device's matrix products, measured: the best of a few products of
    square matrices. What else the machine does meanwhile makes it smaller."""
    size = 1024 if device.type == "cpu" else 8192
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # .item() waits for a GPU
        best = min(best, time.perf_counter() - begun)
    return 2.0 * size**3 / best
