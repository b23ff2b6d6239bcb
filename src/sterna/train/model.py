"""The `bitnet-b1.58` decoder in torch; its parameters carry GGUF's canonical tensor names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.model.config import ModelConfig
from sterna.ternary.groups import GroupQuantizer
from sterna.train.attention import causal_attention
from sterna.train.bitlinear import BitLinear, ternary_groups


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
    """`x += Wo·sub_norm(attention(norm(x)))`, then `x += Wdown·sub_norm(relu(Wgate·n)² * (Wup·n))`, `n = norm(x)`."""

    def __init__(self, config: ModelConfig, groups: GroupQuantizer | None) -> None:
        super().__init__()
        hidden, inner, eps = config.hidden_size, config.intermediate_size, config.rms_norm_eps
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        kv_size = config.num_kv_heads * config.head_dim
        std = hidden**-0.5
        residual_std = (
            2 * config.num_layers
        ) ** -0.5  # 2 * num_layers additions keep the residual stream near unit size
        self.attn_norm = RMSNorm(hidden, eps)
        self.attn_q = BitLinear(hidden, hidden, std, groups)
        self.attn_k = BitLinear(hidden, kv_size, std, groups)
        self.attn_v = BitLinear(hidden, kv_size, std, groups)
        self.attn_sub_norm = RMSNorm(hidden, eps)
        self.attn_output = BitLinear(hidden, hidden, std * residual_std, groups)
        self.ffn_norm = RMSNorm(hidden, eps)
        self.ffn_gate = BitLinear(hidden, inner, std, groups)
        self.ffn_up = BitLinear(hidden, inner, std, groups)
        self.ffn_sub_norm = RMSNorm(inner, eps)
        self.ffn_down = BitLinear(inner, hidden, inner**-0.5 * residual_std, groups)

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x [batch, tokens, hidden], normed -> causal grouped-query attention [batch, tokens, hidden]."""
        batch, tokens, hidden = x.shape

        def heads(projected: Tensor, count: int) -> Tensor:
            return projected.view(batch, tokens, count, self.head_dim).transpose(1, 2)

        q = rope(heads(self.attn_q(x), self.num_heads), cos, sin)
        k = rope(heads(self.attn_k(x), self.num_kv_heads), cos, sin)
        v = heads(self.attn_v(x), self.num_kv_heads)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        mixed = causal_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(batch, tokens, hidden).float()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn_output(self.attn_sub_norm(self.attention(self.attn_norm(x), cos, sin)))
        n = self.ffn_norm(x)
        return x + self.ffn_down(self.ffn_sub_norm(F.relu(self.ffn_gate(n)).square() * self.ffn_up(n)))


class Decoder(nn.Module):
    """Token ids to logits. `state_dict()` keys are canonical GGUF names (`blk.0.attn_q.weight`, ...).

    `groups`: how matrices are made ternary if not by absmean; with `ternary_embedding`, so is the embedding.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, config: ModelConfig, groups: GroupQuantizer | None = None, ternary_embedding: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.embedding_groups = groups if ternary_embedding else None
        self.token_embd = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.token_embd.weight, std=config.hidden_size**-0.5)
        self.blk = nn.ModuleList(Block(config, groups) for _ in range(config.num_layers))
        self.output_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
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
        return F.linear(self.output_norm(x), table).float()

    def table(self) -> Tensor:
        """The embedding [vocab_size, hidden_size], which is the head too, as it is multiplied."""
        weight = self.token_embd.weight
        return weight if self.embedding_groups is None else ternary_groups(weight, self.embedding_groups)
