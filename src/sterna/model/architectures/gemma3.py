"""Gemma 3 (arXiv 2503.19786), text only: norms before and after each half of a layer. BitNet-embedding-270M is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sterna.errors import FormatError
from sterna.files.gguf.metadata import Keys
from sterna.files.json_values import integer, number
from sterna.model.architecture import Architecture, Fields, GGUFVariant, HFClass, layers_by_type, plus_one
from sterna.model.builder import PlanBuilder
from sterna.model.config import ModelConfig

PERIOD = 6
"""Five of six layers are local."""
LOCAL_THETA = 10000.0
LAYERS_OF_27B = 62
"""Identifies the one Gemma 3 that scales its queries by a size other than the head's, which GGUF files do not say."""


def plan(b: PlanBuilder) -> None:
    """`x += post_attn(Wo·attention(norm1(x)))`, `x += post_ffw(Wdown·(gelu(Wgate·n) * (Wup·n)))`, `n = norm2(x)`.

    Embeddings are scaled, and q and k normed head by head.
    """
    config = b.config
    b.embed("x", "token_embd.weight")
    b.scale("x", "x", config.embedding_scale)
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        b.linears("n", {"q": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
        b.norm("q", "q", f"{p}.attn_q_norm.weight", heads=config.num_heads)
        b.norm("k", "k", f"{p}.attn_k_norm.weight", heads=config.num_kv_heads)
        b.rope("q", config.num_heads, layer)
        b.rope("k", config.num_kv_heads, layer)
        b.attention("a", "q", "k", "v", layer)
        b.linears("a", {"o": f"{p}.attn_output"})
        b.norm("o", "o", f"{p}.post_attention_norm.weight")
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.ffn_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.norm("o", "o", f"{p}.post_ffw_norm.weight")
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")


def read_gguf(keys: Keys, fields: Fields) -> Fields:
    """Without a window all layers are global: bitnet.cpp's converter of embedding models writes none."""
    hidden_size, num_heads, num_layers = fields["hidden_size"], fields["num_heads"], fields["num_layers"]
    period = keys.integer("attention.sliding_window_pattern", PERIOD)
    is_local = fields["sliding_window"] is not None
    return {
        "embedding_scale": hidden_size**0.5,
        "query_scale": (hidden_size / max(num_heads, 1)) ** -0.5 if num_layers == LAYERS_OF_27B else None,
        "sliding_layers": _local_layers(num_layers, period) if is_local else (),
        "local_rope_theta": keys.number("rope.freq_base_swa", LOCAL_THETA) if is_local else None,
    }


def write_gguf(config: ModelConfig) -> Mapping[str, Any]:
    return {} if config.local_rope_theta is None else {"rope.freq_base_swa": config.local_rope_theta}


def read_hf(raw: Mapping[str, Any], fields: Fields) -> Fields:
    """The layers that `layer_types` names, or else five of six, are local and have a theta of their own."""
    num_layers, head_dim = fields["num_layers"], fields["head_dim"]
    local = layers_by_type(raw)
    if local is None:
        local = _local_layers(num_layers, integer(raw, "sliding_window_pattern", PERIOD))
    scalar = number(raw.get("query_pre_attn_scalar", 256), "query_pre_attn_scalar")
    if not scalar > 0:
        raise FormatError(f"its query_pre_attn_scalar is {scalar}.")
    return {
        "embedding_scale": fields["hidden_size"] ** 0.5,
        "query_scale": None if scalar == head_dim else scalar**-0.5,
        "sliding_window": integer(raw, "sliding_window", 0) or None,
        "sliding_layers": local,
        "local_rope_theta": fields["local_rope_theta"] or LOCAL_THETA,
    }


def _local_layers(num_layers: int, period: int) -> tuple[int, ...]:
    return tuple(index for index in range(num_layers) if period and (index + 1) % period)


NORMS = {
    "attn_norm": ("input_layernorm",),
    "ffn_norm": ("pre_feedforward_layernorm",),
    "attn_q_norm": ("self_attn.q_norm",),
    "attn_k_norm": ("self_attn.k_norm",),
    "post_attention_norm": ("post_attention_layernorm",),
    "post_ffw_norm": ("post_feedforward_layernorm",),
}

GEMMA3 = Architecture(
    name="gemma3",
    plan=plan,
    gguf={"gemma3": GGUFVariant("gelu")},
    hf={
        name: HFClass("gelu_pytorch_tanh", rope_theta=1000000.0, tied_head=True)
        for name in ("Gemma3ForCausalLM", "Gemma3TextModel")
    },
    written=None,
    norms=NORMS,
    from_folder={f"{norm}.weight": plus_one for norm in ("output_norm", *NORMS)},
    read_gguf=read_gguf,
    write_gguf=write_gguf,
    read_hf=read_hf,
)

ARCHITECTURES = (GEMMA3,)
