"""BitNet b1.58 (arXiv 2402.17764, and 2504.12285 for the 2B-4T model): a norm before each output projection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sterna.files.gguf.metadata import Keys
from sterna.model.architecture import NORMS, Architecture, Fields, GGUFVariant, HFClass
from sterna.model.builder import PlanBuilder
from sterna.model.config import ModelConfig

VOCABULARY_OF_2B4T = 128256
"""Identifies the 2B-4T model: some converters write it as `bitnet` without saying that its activation is relu²."""


def plan(b: PlanBuilder) -> None:
    """`x += Wo·subln_attn(attention(norm1(x)))`, `x += Wdown·subln_ffn(act(Wgate·n) * (Wup·n))`, `n = norm2(x)`."""
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", "q", "k", "v", layer)
        b.norm("a", "a", f"{p}.attn_sub_norm.weight")
        b.linears("a", {"o": f"{p}.attn_output"})
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.norm("gate", "gate", f"{p}.ffn_sub_norm.weight")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")


def gguf_name(config: ModelConfig) -> str:
    """The name follows from the activation, because other engines know no other difference between the two."""
    return {"silu": "bitnet", "relu2": "bitnet-b1.58"}[config.activation]


def read_gguf(keys: Keys, fields: Fields) -> Fields:
    """The activation, where the file does not name it."""
    is_2b4t = keys.architecture == "bitnet" and fields["vocab_size"] == VOCABULARY_OF_2B4T
    return {"activation": "relu2"} if is_2b4t and keys.get("hidden_activation") is None else {}


def write_gguf(config: ModelConfig) -> Mapping[str, Any]:
    return {"hidden_activation": config.activation} if gguf_name(config) == "bitnet" else {}


BITNET_B158 = Architecture(
    name="bitnet-b1.58",
    plan=plan,
    gguf={
        # Where such a file has a head of its own, bitnet.cpp loads it, but uses the embedding.
        "bitnet-b1.58": GGUFVariant("relu2", tied_head=True),
        "bitnet-25": GGUFVariant("relu2", tied_head=True),
    },
    hf={name: HFClass("relu2", rope_theta=500000.0) for name in ("BitNetForCausalLM", "BitNetModel")},
    written=("BitNetForCausalLM", "bitnet"),
    norms={
        **NORMS,
        # The second names are those of the 1bitLLM models.
        "attn_sub_norm": ("self_attn.attn_sub_norm", "self_attn.inner_attn_ln"),
        "ffn_sub_norm": ("mlp.ffn_sub_norm", "mlp.ffn_layernorm"),
    },
    gguf_name=gguf_name,
    read_gguf=read_gguf,
    write_gguf=write_gguf,
)

BITNET = replace(
    BITNET_B158,
    name="bitnet",
    gguf={"bitnet": GGUFVariant("silu", tied_head=True)},
    hf={"BitnetForCausalLM": HFClass("silu", latent=True)},
)

ARCHITECTURES = (BITNET_B158, BITNET)
