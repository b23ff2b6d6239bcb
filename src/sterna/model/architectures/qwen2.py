"""Qwen2 and Qwen2.5 (arXiv 2407.10671, 2412.15115): Llama's layer with biases on q, k and v."""

from __future__ import annotations

from sterna.model.architecture import Architecture, GGUFVariant, HFClass
from sterna.model.architectures.llama import plan
from sterna.model.architectures.qwen3 import read_hf

QWEN2 = Architecture(
    name="qwen2",
    plan=plan,
    gguf={"qwen2": GGUFVariant("silu")},
    hf={"Qwen2ForCausalLM": HFClass("silu"), "Qwen2Model": HFClass("silu")},
    written=("Qwen2ForCausalLM", "qwen2"),
    biases=("attn_q", "attn_k", "attn_v"),
    read_hf=read_hf,
)

ARCHITECTURES = (QWEN2,)
