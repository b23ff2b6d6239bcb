"""The mathematics of ternary models in readable numpy: quantisers and packings."""

from sterna.ternary.blocks import (
    dequantize_q4_0,
    dequantize_q6_k,
    dequantize_q8_0,
    quantize_q4_0,
    quantize_q6_k,
    quantize_q8_0,
)
from sterna.ternary.hf_packed import pack_hf, unpack_hf
from sterna.ternary.i2s import pack_i2s, unpack_i2s
from sterna.ternary.quantize import absmax, absmean, ternary_scale
from sterna.ternary.tq import pack_tq2_0, unpack_tq2_0

__all__ = [
    "absmax",
    "absmean",
    "dequantize_q4_0",
    "dequantize_q6_k",
    "dequantize_q8_0",
    "pack_hf",
    "pack_i2s",
    "pack_tq2_0",
    "quantize_q4_0",
    "quantize_q6_k",
    "quantize_q8_0",
    "ternary_scale",
    "unpack_hf",
    "unpack_i2s",
    "unpack_tq2_0",
]
