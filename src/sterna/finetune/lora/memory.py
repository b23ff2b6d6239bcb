"""How much memory the training of an adapter beside a packed model takes."""

from __future__ import annotations

from collections.abc import Mapping

from sterna.model.config import ModelConfig
from sterna.tensor.tensor import AnyTensor, Tensor

FLOAT = 4
PROCESS_BYTES, TOKEN_BYTES = 400_000_000, 1_150
"""Of a process that fine-tunes, before there is a model: PyTorch and other code, and for each token of a vocabulary.
Measured with vocabularies of 49,152 and 128,256 tokens."""
ADAPTER_FLOATS = 4
"""Of each parameter of an adapter: itself, its gradient and AdamW's two moments."""
LOGITS = 3
"""Logits of a chunk of rows that are in memory together: themselves, their softmax and their gradient."""


def base_bytes(tensors: Mapping[str, AnyTensor]) -> int:
    """Bytes of a model as it is stored; those that a file keeps in another form count as they will be."""
    return sum(
        tensor.data.nbytes if isinstance(tensor, Tensor) else tensor.encoding.data_bytes(tensor.shape)
        for tensor in tensors.values()
    )


def layer_floats(config: ModelConfig) -> int:
    """About how many floats one layer has in memory for each token, at the peak of its backward pass: what its norms,
    attention and gate keep, and gradients of it. 6 rows as wide as the feed-forward and 12 as wide as the hidden rows
    are what the 2B-4T model took (docs/adapters.md, Training)."""
    return 6 * config.intermediate_size + 12 * max(config.hidden_size, config.num_heads * config.head_dim)


def peak_memory(config: ModelConfig, parameters: int, tokens: int, base: int, chunk: int = 128) -> dict[str, int]:
    """What takes memory at the peak of a step, in bytes by name; the peak is the sum.

    `parameters`: those of the adapter. `tokens`: of a part of a batch. `base`: `base_bytes`. `chunk`: rows whose logits
    are in memory together. The kept rows are the inputs of every layer; logits and a layer's rows are not there at the
    same time.
    """
    layer, logits = FLOAT * tokens * layer_floats(config), FLOAT * LOGITS * chunk * config.vocab_size
    return {
        "PyTorch and tokenizer": PROCESS_BYTES + TOKEN_BYTES * config.vocab_size,
        "packed base": base,
        "adapter, gradients and moments": ADAPTER_FLOATS * FLOAT * parameters,
        "inputs of layers": FLOAT * tokens * config.hidden_size * (config.num_layers + 1),
        "a layer, or logits": max(layer, logits),
    }
