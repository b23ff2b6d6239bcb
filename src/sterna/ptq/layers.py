"""One decoder layer at a time: its weights in torch, what goes into its matrices, and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from sterna.checkpoint import Checkpoint
from sterna.errors import FormatError, UnsupportedError
from sterna.model.architecture import MATRICES
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode
from sterna.tensor.tensor import AnyTensor, whole
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.config import TRAINED
from sterna.train.model import Block

STAGES = (("attn_q", "attn_k", "attn_v"), ("attn_output",), ("ffn_gate", "ffn_up"), ("ffn_down",))
"""The matrices of a layer in the order in which a token passes them; those of a stage have one input."""
BATCH_TOKENS = 4096
"""Tokens that pass a layer at once."""
EXACT = Quantization(weights="float", activations="float")


@dataclass
class Layer:
    """A decoder layer that is being quantised: `block` has its weights, float at first, then what codes stand for."""

    index: int
    block: Block
    inputs: Tensor
    """float32 [windows, tokens, hidden], as the quantised layers before it give them."""
    originals: Tensor | None
    """The same as the model's own layers give them; None for methods that do not ask for them."""
    cos: Tensor
    sin: Tensor

    def matrix(self, name: str) -> BitLinear:
        """A linear layer by its canonical name."""
        matrix = getattr(self.block, name)
        assert isinstance(matrix, BitLinear)
        return matrix

    def weight(self, name: str) -> Tensor:
        """What a matrix multiplies by, float32 [out, in]."""
        return self.matrix(name).weight.data

    def set_weight(self, name: str, values: object) -> None:
        """Replaces a matrix by values [out, in], a tensor or an array."""
        weight = self.weight(name)
        weight.copy_(torch.as_tensor(values, dtype=weight.dtype, device=weight.device))

    def batches(self, inputs: Tensor) -> Iterator[Tensor]:
        """Inputs [windows, tokens, hidden] in runs of windows of about `BATCH_TOKENS`."""
        return iter(inputs.split(max(BATCH_TOKENS // inputs.shape[1], 1)))

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """What the layer makes of inputs [windows, tokens, hidden]: the same shape."""
        return torch.cat([self.block(batch, self.cos, self.sin) for batch in self.batches(inputs)])

    @torch.no_grad()
    def observe(self, names: Sequence[str], see: Callable[[str, Tensor], None], windows: int | None = None) -> None:
        """Calls `see` with the name of each matrix of `names` and its input, float32 [tokens, in], batch by batch."""

        def hook(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            see(name, inputs[0].flatten(0, -2))

        handles = [self.matrix(name).register_forward_pre_hook(partial(hook, name)) for name in names]
        try:
            self.forward(self.inputs[:windows])
        finally:
            for handle in handles:
                handle.remove()

    def inputs_of(self, name: str, windows: int | None = None) -> Tensor:
        """The input of a matrix, float32 [tokens, in]."""
        seen: list[Tensor] = []
        self.observe([name], lambda _, x: seen.append(x), windows)
        return torch.cat(seen)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Gives the layer back its parameters at the end of the block."""
        kept = {name: parameter.clone() for name, parameter in self.block.state_dict().items()}
        try:
            yield
        finally:
            self.block.load_state_dict(kept)


class Source:
    """The embedding and the layers of a checkpoint, in torch. The checkpoint `source` has `rope_style` "half"."""

    def __init__(self, source: Checkpoint, length: int, device: str) -> None:
        """`length`: the tokens of a window. Raises UnsupportedError for an architecture whose layers are not those of
        `sterna.train.model`, and for latent weights."""
        self.source, self.config, self.device = source, source.config, device
        _check(self.config, source, length)
        angles = torch.outer(
            torch.arange(length, dtype=torch.float64),
            torch.tensor(self.config.rope_frequencies(0), dtype=torch.float64),
        )
        factor = self.config.rope_attention_factor
        self.cos, self.sin = ((factor * part).float().to(device) for part in (angles.cos(), angles.sin()))

    def embedded(self, tokens: Tensor) -> Tensor:
        """The embeddings of tokens [windows, length]: float32 [windows, length, hidden]. Raises FormatError for a token
        that the table does not have."""
        flat, at = tokens.numpy().reshape(-1), 0
        size = self.source.tensors["token_embd.weight"].shape[0]
        if flat.max(initial=0) >= size:
            raise FormatError(f"The tokenizer gives the token {flat.max()}, and the embedding has {size} rows.")
        rows = np.empty((len(flat), self.config.hidden_size), np.float32)
        # The table is decoded in pieces: in float32 it would be larger than a layer.
        for part in self.source.tensors["token_embd.weight"].parts():
            for first, last in part.row_chunks():
                inside = (flat >= at) & (flat < at + last - first)
                rows[inside] = decode(part.rows(first, last))[flat[inside] - at]
                at += last - first
        embedded = torch.from_numpy(rows).view(*tokens.shape, -1)
        return (embedded * self.config.embedding_scale).to(self.device)

    def layer(self, index: int, inputs: Tensor, originals: Tensor | None) -> Layer:
        """A layer with the model's own weights."""
        prefix = f"blk.{index}."
        block = Block(self.config, index, EXACT, input_norms=False, kind=BitLinear)
        names = [name for name in self.source.tensors if name.startswith(prefix)]
        weights = {name.removeprefix(prefix): _tensor(self.source.tensors[name]) for name in names}
        block.load_state_dict(weights, assign=True)
        return Layer(index, block.to(self.device).requires_grad_(False), inputs, originals, self.cos, self.sin)


def _tensor(tensor: AnyTensor) -> Tensor:
    """Its values, float32, in memory of their own."""
    return torch.from_numpy(np.array(decode(whole(tensor)), np.float32))


def _check(config: ModelConfig, source: Checkpoint, length: int) -> None:
    plain = replace(config, rope_style="half")
    others = [name for name in source.tensors if name.startswith("blk.0.") and not _is_plain(name)]
    window = config.sliding_window is not None and config.sliding_window < length
    is_known = config.architecture in TRAINED and config.rotary_dim in (None, config.head_dim) and not others
    if not is_known or window or plain.query_scale is not None or config.hadamard is not None:
        what = f"a tensor {others[0]}" if others else f"the architecture {config.architecture}"
        raise UnsupportedError(
            f"This model has {what}, whose layers sterna quantize cannot run: it takes {', '.join(TRAINED)} "
            "without biases, adapters and windows shorter than --length."
        )
    if source.latent:
        raise UnsupportedError("This model's weights are ternary or become so: there is nothing to quantise.")


def _is_plain(name: str) -> bool:
    part = name.split(".", 2)[2].removesuffix(".weight")
    return part in MATRICES or (part.endswith("_norm") and name.endswith(".weight"))
