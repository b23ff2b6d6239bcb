"""Decoders in torch with BitLinear layers; their parameters carry GGUF's canonical tensor names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

Linear = Callable[[int, int, float, Quantization, str, bool], nn.Module]
"""Makes a matrix of a layer, from the arguments of `BitLinear`."""
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
    may have a norm for each head, and every matrix one of its own before it (`input_norms`). A norm that the
    architecture does not have is the identity.
    """

    triton = False
    """Whether norms and the BitLinear layers behind them are Triton kernels; only with the default quantisation."""

    attn_output: nn.Module
    ffn_down: nn.Module

    def __init__(
        self, config: ModelConfig, layer: int, quantization: Quantization, input_norms: bool, kind: Linear
    ) -> None:
        super().__init__()
        hidden, inner, head_dim = config.hidden_size, config.intermediate_size, config.head_dim
        heads, kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim, self.gate = head_dim, GATES[config.activation]
        self.attention_scale = config.attention_scale
        norms, biases = architecture_of(config).norms, architecture_of(config).biases
        # 2 * num_layers additions keep the residual stream near unit size.
        residual_std = (2 * config.num_layers) ** -0.5

        def norm(name: str, size: int) -> nn.Module:
            return RMSNorm(size, config.rms_norm_eps) if name in norms else nn.Identity()

        def linear(name: str, inputs: int, outputs: int, source: str = "normed", std: float = 1.0) -> None:
            own = quantization.of(f"blk.{layer}.{name}.weight")
            setattr(self, name, kind(inputs, outputs, std * inputs**-0.5, own, source, name in biases))
            if input_norms:
                eps = config.rms_norm_eps if config.input_norm_eps is None else config.input_norm_eps
                setattr(self, f"{name}_norm_in", RMSNorm(inputs, eps))

        self.attn_norm = norm("attn_norm", hidden)
        linear("attn_q", hidden, heads * head_dim)
        linear("attn_k", hidden, kv_heads * head_dim)
        linear("attn_v", hidden, kv_heads * head_dim)
        self.attn_q_norm = norm("attn_q_norm", head_dim)
        self.attn_k_norm = norm("attn_k_norm", head_dim)
        self.attn_sub_norm = norm("attn_sub_norm", heads * head_dim)
        linear("attn_output", heads * head_dim, hidden, "attention", residual_std)
        self.ffn_norm = norm("ffn_norm", hidden)
        linear("ffn_gate", hidden, inner)
        linear("ffn_up", hidden, inner)
        self.ffn_sub_norm = norm("ffn_sub_norm", inner)
        linear("ffn_down", inner, hidden, "gated", residual_std)

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """x [batch, tokens, hidden] -> causal grouped-query attention of norm(x) [batch, tokens, heads * head_dim].
        `lengths`: of the documents in each row (`causal_attention`)."""
        q, k, v = self._behind(self.attn_norm, x, "attn_q", "attn_k", "attn_v")

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

        q = rope(self.attn_q_norm(heads(q)), cos, sin)
        k = rope(self.attn_k_norm(heads(k)), cos, sin)
        v = heads(v)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        return causal_attention(q, k, v, self.attention_scale, lengths).transpose(1, 2).flatten(2).float()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        (mixed,) = self._behind(self.attn_sub_norm, self.attention(x, cos, sin, lengths), "attn_output")
        x = x + mixed
        gate, up = self._behind(self.ffn_norm, x, "ffn_gate", "ffn_up")
        (down,) = self._behind(self.ffn_sub_norm, self.gate(gate) * up, "ffn_down")
        return x + down

    def _behind(self, norm: nn.Module, x: Tensor, *names: str) -> tuple[Tensor, ...]:
        """What the layers of these names give for norm(x)."""
        layers = [getattr(self, name) for name in names]
        if self.triton and isinstance(norm, RMSNorm):
            from sterna.train.kernels.linear import norm_linears

            return norm_linears(x, norm.weight, norm.eps, [layer.weight for layer in layers])
        normed = norm(x)
        own = (getattr(self, f"{name}_norm_in", None) for name in names)
        return tuple(
            layer(normed if inner is None else inner(normed)) for layer, inner in zip(layers, own, strict=True)
        )


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

    def __init__(
        self,
        config: ModelConfig,
        quantization: Quantization = Quantization(),  # noqa: B008 (it is frozen)
        input_norms: bool = False,
        kind: Linear = BitLinear,
    ) -> None:
        """`input_norms`: every matrix of a layer has an RMSNorm of its own before it, `NAME_norm_in`. `kind` makes the
        matrices of layers."""
        super().__init__()
        self.config = config
        self.embedding_groups = quantization.groups if quantization.embedding else None
        self.token_embd = nn.Embedding(config.vocab_size, config.hidden_size)
        nn.init.normal_(self.token_embd.weight, std=config.hidden_size**-0.5)
        self.blk = nn.ModuleList(
            Block(config, layer, quantization, input_norms, kind) for layer in range(config.num_layers)
        )
        self.output_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tied_head:
            self.output = Head(config.vocab_size, config.hidden_size)
        frequencies = torch.tensor(config.rope_frequencies(0), dtype=torch.float64)
        angles = torch.outer(torch.arange(config.context_length, dtype=torch.float64), frequencies)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [batch, n] int64, n <= context_length -> logits [batch, n, vocab_size] float32."""
        return self.logits(self.rows(tokens))

    def rows(self, tokens: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """tokens [batch, n] int64 -> rows behind the last norm [batch, n, hidden]. `lengths`, which add up to n: of the
        documents that lie one after the other in each row; positions begin anew in each, and attention stays in it."""
        n = tokens.shape[1]
        positions = slice(n) if lengths is None else torch.cat([torch.arange(length) for length in lengths])
        x = F.embedding(tokens, self.table())
        for block in self.blk:
            arguments = x, self.cos[positions], self.sin[positions], lengths
            keeps = not self.checkpoints_layers or not torch.is_grad_enabled()
            x = block(*arguments) if keeps else checkpoint(block, *arguments, use_reentrant=False)
        return self.output_norm(x)

    def logits(self, rows: Tensor) -> Tensor:
        """What the head makes of rows [..., hidden]: float32 [..., vocab_size]."""
        return F.linear(rows, self.table() if self.config.tied_head else self.table("output")).float()

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
