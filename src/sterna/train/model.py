"""Decoders in torch with BitLinear layers; their parameters carry GGUF's canonical tensor names."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.ternary.quantization import Quantization
from sterna.train.attention import causal_attention
from sterna.train.bitlinear import BitLinear
from sterna.train.distributed import whole
from sterna.train.quantizers import ternary_groups

GATES: dict[str, Callable[[Tensor], Tensor]] = {"relu2": lambda x: F.relu(x).square(), "silu": F.silu}
"""The activation of the gate by `ModelConfig.activation`."""


class RMSNorm(nn.Module):
    """Root-mean-square norm in float32 (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates x [batch, heads, tokens, head_dim] in half-split pairs; cos, sin are [tokens, head_dim / 2].

    Source: RoFormer, arXiv 2104.09864, equation 34, in the order of Hugging Face's `rotate_half`.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class Block(nn.Module):
    """A layer of one of the architectures in `sterna.train.config.TRAINED`; which norms it has says
    `sterna.model.architectures`.

    `x += Wo·sub_norm(attention(norm(x)))`, then `x += Wdown·sub_norm(act(Wgate·n) * (Wup·n))`, `n = norm(x)`; q and k
    may have a norm for each head. A norm that the architecture does not have is the identity.
    """

    triton = False
    """Whether norms and the BitLinear layers behind them are Triton kernels; only with the default quantisation."""

    def __init__(self, config: ModelConfig, quantization: Quantization) -> None:
        super().__init__()
        hidden, inner, head_dim = config.hidden_size, config.intermediate_size, config.head_dim
        heads, kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim, self.gate = head_dim, GATES[config.activation]
        norms = architecture_of(config).norms
        # 2 * num_layers additions keep the residual stream near unit size.
        residual_std = (2 * config.num_layers) ** -0.5

        def norm(name: str, size: int) -> nn.Module:
            return RMSNorm(size, config.rms_norm_eps) if name in norms else nn.Identity()

        def linear(inputs: int, outputs: int, source: str = "normed", std: float = 1.0) -> BitLinear:
            return BitLinear(inputs, outputs, std * inputs**-0.5, quantization, source)

        self.attn_norm = norm("attn_norm", hidden)
        self.attn_q = linear(hidden, heads * head_dim)
        self.attn_k = linear(hidden, kv_heads * head_dim)
        self.attn_v = linear(hidden, kv_heads * head_dim)
        self.attn_q_norm = norm("attn_q_norm", head_dim)
        self.attn_k_norm = norm("attn_k_norm", head_dim)
        self.attn_sub_norm = norm("attn_sub_norm", heads * head_dim)
        self.attn_output = linear(heads * head_dim, hidden, "attention", residual_std)
        self.ffn_norm = norm("ffn_norm", hidden)
        self.ffn_gate = linear(hidden, inner)
        self.ffn_up = linear(hidden, inner)
        self.ffn_sub_norm = norm("ffn_sub_norm", inner)
        self.ffn_down = linear(inner, hidden, "gated", residual_std)

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [batch, tokens, hidden] -> causal grouped-query attention of norm(x) [batch, tokens, heads * head_dim]."""
        q, k, v = self._behind(self.attn_norm, x, self.attn_q, self.attn_k, self.attn_v)

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q = rope(self.attn_q_norm(heads(q)), cos, sin)
        k = rope(self.attn_k_norm(heads(k)), cos, sin)
        v = heads(v)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        return causal_attention(q, k, v).transpose(1, 2).flatten(2).float()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        (mixed,) = self._behind(self.attn_sub_norm, self.attention(x, cos, sin), self.attn_output)
        x = x + mixed
        gate, up = self._behind(self.ffn_norm, x, self.ffn_gate, self.ffn_up)
        (down,) = self._behind(self.ffn_sub_norm, self.gate(gate) * up, self.ffn_down)
        return x + down

    def _behind(self, norm: nn.Module, x: Tensor, *layers: BitLinear) -> tuple[Tensor, ...]:
        """What layers give for norm(x)."""
        if self.triton and isinstance(norm, RMSNorm):
            from sterna.train.kernels.linear import norm_linears

            return norm_linears(x, norm.weight, norm.eps, [layer.weight for layer in layers])
        normed = norm(x)
        return tuple(layer(normed) for layer in layers)


class Head(nn.Module):
    """The head of a model whose embedding is not its head."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, hidden_size) * hidden_size**-0.5)


class Decoder(nn.Module):
    """Token ids to logits. `state_dict()` keys are canonical GGUF names (`blk.0.attn_q.weight`, ...)."""

    cos: Tensor
    sin: Tensor
    checkpoints_layers = False
    """Whether only the inputs of layers are kept for the backward pass, which computes the rest again."""

    def __init__(self, config: ModelConfig, quantization: Quantization = Quantization()) -> None:  # noqa: B008
        super().__init__()
        self.config = config
        self.embedding_groups = quantization.groups if quantization.embedding else None
        self.token_embd = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.token_embd.weight, std=config.hidden_size**-0.5)
        self.blk = nn.ModuleList(Block(config, quantization) for _ in range(config.num_layers))
        self.output_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tied_head:
            self.output = Head(config.vocab_size, config.hidden_size)
        frequencies = config.rope_theta ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)
        angles = torch.outer(torch.arange(config.context_length, dtype=torch.float64), frequencies)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [batch, n] int64, n <= context_length -> logits [batch, n, vocab_size] float32."""
        n = tokens.shape[1]
        table = self.table()
        x = F.embedding(tokens, table)
        for block in self.blk:
            arguments = x, self.cos[:n], self.sin[:n]
            keeps = not self.checkpoints_layers or not torch.is_grad_enabled()
            x = block(*arguments) if keeps else checkpoint(block, *arguments, use_reentrant=False)
        head = table if self.config.tied_head else self.table("output")
        return F.linear(self.output_norm(x), head).float()

    def table(self, name: str = "token_embd") -> Tensor:
        """The embedding, or the head `output`, [vocab_size, hidden_size], as it is multiplied."""
        weight = whole(getattr(self, name).weight)
        return weight if self.embedding_groups is None else ternary_groups(weight, self.embedding_groups)

    def ternary_tables(self) -> dict[str, Tensor]:
        """The embedding, and a head of its own, by name, if they are ternary; without gradients."""
        if self.embedding_groups is None:
            return {}
        names = ["token_embd"] if self.config.tied_head else ["token_embd", "output"]
        return {f"{name}.weight": self.table(name).detach() for name in names}
