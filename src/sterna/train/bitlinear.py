"""BitLinear: a linear layer that is ternary forward and float backward (BitNet b1.58, arXiv 2402.17764, section 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sterna.ternary.quantization import Quantization
from sterna.train.distributed import whole
from sterna.train.quantizers import activation_quantizer, weight_quantizer


class BitLinear(nn.Module):
    """`y = (Wq · xq) * beta / s`, latent weights in float32, gradients straight through both quantisers.

    The codes are multiplied, not their scaled values, because codes are exact in bfloat16, too. Weights or inputs that
    are not codes with a scale are multiplied as they are. `source` says what the layer multiplies, which BitNet a4.8
    treats differently (`sterna.train.quantizers.A48`). A bias, if the layer has one, is added in float32.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        init_std: float,
        quantization: Quantization = Quantization(),  # noqa: B008 (it is frozen)
        source: str = "normed",
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) * init_std)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.quantization = quantization
        self.quantize_weight = weight_quantizer(quantization)
        self.quantize_input = activation_quantizer(quantization, source)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] float32 -> [..., out_features] float32."""
        y = self._product(x)
        return y if self.bias is None else y + self.bias

    def _product(self, x: Tensor) -> Tensor:
        weight, beta = self.quantize_weight(self.weight)
        codes, scale = self.quantize_input(x)
        y = F.linear(codes, weight).float()
        if beta is not None and scale is not None:
            return y * (beta / scale)
        if beta is not None:
            return y * beta
        return y if scale is None else y / scale

    def values(self) -> Tensor:
        """What the latent weights count as, float32 [out_features, in_features], without gradients."""
        with torch.no_grad():
            weight, beta = self.quantize_weight(whole(self.weight))
            return weight if beta is None else weight * beta
