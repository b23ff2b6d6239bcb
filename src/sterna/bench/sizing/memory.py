"""The memory that a model takes beside its weights: keys and values, states, and what a pass works in."""

from __future__ import annotations

from sterna._native import BLOCK_SIZE
from sterna.engine.options import TOKENS_PER_PASS
from sterna.model.architecture import matrix_shapes
from sterna.model.config import ModelConfig

PROCESS_BYTES = 75_000_000
"""What Python, numpy and the engine take before a model is loaded: 60 to 90 MB, depending on the system."""


def kv_bytes(config: ModelConfig, positions: int, kv: str = "f16") -> int:
    """Bytes of the keys and values of one sequence of so many positions. int8 has a float32 scale for each head and
    position; layers with a window keep no more than that."""
    head_bytes = {"f32": 4 * config.head_dim, "f16": 2 * config.head_dim, "int8": config.head_dim + 4}[kv]
    windows = (config.window(layer) for layer in range(config.num_layers) if config.has_attention(layer))
    seen = sum(positions if window is None else min(positions, window) for window in windows)
    return 2 * seen * config.num_kv_heads * head_bytes


def state_bytes(config: ModelConfig) -> int:
    """Bytes of one sequence's states in gated delta nets, in float32; 0 without any."""
    net = config.delta_net
    if net is None:
        return 0
    channels = 2 * net.key_heads * net.key_dim + net.value_heads * net.value_dim
    state = net.value_heads * net.key_dim * net.value_dim + (net.conv_width - 1) * channels
    return 4 * state * len(net.layers)


def cache_bytes(config: ModelConfig, context: int, streams: int, kv: str = "f16") -> int:
    """Bytes that `streams` sequences of `context` positions take in the KV cache, which has whole blocks, and their
    states."""
    positions = -(-context // BLOCK_SIZE) * BLOCK_SIZE
    return streams * (kv_bytes(config, positions, kv) + state_bytes(config))


def working_bytes(config: ModelConfig, streams: int) -> int:
    """Bytes of the process, and of the float32 rows that a pass has at a time: the residual stream, the input and
    output of each matrix of a layer, and the logits of each stream."""
    widths = sum(out for out, _ in matrix_shapes(config).values()) + 3 * config.hidden_size
    return PROCESS_BYTES + 4 * (TOKENS_PER_PASS * widths + streams * config.vocab_size)
