"""The arithmetic model of energy that papers on ternary models use: operations times picojoules of each.

It counts neither memory nor control, so it says how small a circuit could be, not what a computer takes; a laptop takes
some 40,000 times as much for a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from sterna.model.architecture import matrix_shapes
from sterna.model.config import ModelConfig

PICO = 1e-12
SEQUENCE = 512
"""Tokens of a pass in the published figures."""


@dataclass(frozen=True)
class Node:
    """Picojoules of one operation in a process."""

    int8_add: float
    int8_mul: float
    int32_add: float
    fp16_add: float
    fp16_mul: float

    @property
    def fp16_mac(self) -> float:
        """A multiply-add in float16."""
        return self.fp16_mul + self.fp16_add


NODES = {
    # 45 nm: Horowitz, ISSCC 2014; 7 nm: the table of PokeBNN (arXiv 2112.00133) that BitNet (2310.11453) uses.
    "7nm": Node(int8_add=0.007, int8_mul=0.07, int32_add=0.03, fp16_add=0.16, fp16_mul=0.34),
    "45nm": Node(int8_add=0.03, int8_mul=0.2, int32_add=0.1, fp16_add=0.4, fp16_mul=1.1),
}


def matmul_ratio(node: Node) -> float:
    """How many times less a ternary product takes than one in float16 by BitNet's count: one 8-bit add for each
    weight, zeros included, and no wider accumulator. 71.4 at 7 nm, 50.0 at 45 nm."""
    return node.fp16_mac / node.int8_add


def wide_ratio(node: Node) -> float:
    """The same where sums are kept in 32 bits, as every engine keeps them: 16.7 at 7 nm."""
    return node.fp16_mac / node.int32_add


@dataclass(frozen=True)
class Pass:
    """What a token's pass multiplies: weights of the layers' matrices, and products of attention (q with k, and
    probabilities with v), both as multiply-adds."""

    weights: int
    attention: int

    def joules(self, node: Node, ternary: bool, tokens: int = SEQUENCE) -> float:
        """Joules of a pass of so many tokens. Attention is in float16 in either case."""
        weight = node.int8_add if ternary else node.fp16_mac
        return tokens * PICO * (self.weights * weight + self.attention * node.fp16_mac)

    def ratio(self, node: Node) -> float:
        """How many times less the ternary model takes than the same one in float16."""
        return self.joules(node, ternary=False) / self.joules(node, ternary=True)


def pass_of(config: ModelConfig, sequence: int = SEQUENCE) -> Pass:
    """The pass of a model as the papers count it: each token attends to all of a sequence, without the causal half,
    and the output matrix is left out."""
    q_width = config.num_heads * config.head_dim
    attention = sum(config.has_attention(layer) for layer in range(config.num_layers)) * 2 * q_width * sequence
    return Pass(config.num_layers * sum(out * width for out, width in matrix_shapes(config).values()), attention)
