"""Decoders in torch with BitLinear layers; their parameters carry GGUF's canonical tensor names."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
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


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [batch, heads, tokens, head_dim], k and v with as many heads or fewer, which are shared -> as q."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Block(nn.Module):
    """A layer of one of the architectures in `sterna.train.config.TRAINED`; which norms it has says
    `sterna.model.architectures`.

    `x += Wo·sub_norm(attention(norm(x)))`, then `x += Wdown·sub_norm(act(Wgate·n) * (Wup·n))`, `n = norm(x)`; q and k
    may have a norm for each head. A norm that the architecture does not have is the identity.
    """

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
        """x [batch, tokens, hidden], normed -> causal grouped-query attention [batch, tokens, heads * head_dim]."""

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q = rope(self.attn_q_norm(heads(self.attn_q(x))), cos, sin)
        k = rope(self.attn_k_norm(heads(self.attn_k(x))), cos, sin)
        v = heads(self.attn_v(x))
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        return causal_attention(q, k, v).transpose(1, 2).flatten(2).float()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn_output(self.attn_sub_norm(self.attention(self.attn_norm(x), cos, sin)))
        n = self.ffn_norm(x)
        return x + self.ffn_down(self.ffn_sub_norm(self.gate(self.ffn_gate(n)) * self.ffn_up(n)))


class Head(nn.Module):
    """The head of a model whose embedding is not its head."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(vocab_size, hidden_size) * hidden_size**-0.5)


class Decoder(nn.Module):
    """Token ids to logits. `state_dict()` keys are canonical GGUF names (`blk.0.attn_q.weight`, ...)."""

    cos: Tensor
    sin: Tensor

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
            x = block(x, self.cos[:n], self.sin[:n])
        head = table if self.config.tied_head else self.table("output")
        return F.linear(self.output_norm(x), head).float()

    def table(self, name: str = "token_embd") -> Tensor:
        """The embedding, or the head `output`, [vocab_size, hidden_size], as it is multiplied."""
        weight: Tensor = getattr(self, name).weight
        return weight if self.embedding_groups is None else ternary_groups(weight, self.embedding_groups)

    def ternary_tables(self) -> dict[str, Tensor]:
        """The embedding, and a head of its own, by name, if they are ternary; without gradients."""
        if self.embedding_groups is None:
            return {}
        names = ["token_embd"] if self.config.tied_head else ["token_embd", "output"]
        return {f"{name}.weight": self.table(name).detach() for name in names}
