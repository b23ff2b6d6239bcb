"""Qwen3.5 and 3.6, text only: gated delta nets in most layers, gated attention in the others. Bonsai 27B and Bonsai 2
have this body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf.metadata import Keys
from sterna.files.json_values import integer
from sterna.model.architecture import (
    MATRICES,
    Architecture,
    Fields,
    GGUFVariant,
    HFClass,
    layers_by_type,
    minus_one,
    plus_one,
)
from sterna.model.builder import PlanBuilder
from sterna.model.config import ModelConfig
from sterna.model.delta_net import DeltaNet

INTERVAL = 4
"""Every fourth layer has attention."""

HF_NAMES = {
    "key_heads": "num_key_heads",
    "value_heads": "num_value_heads",
    "key_dim": "key_head_dim",
    "value_dim": "value_head_dim",
    "conv_width": "conv_kernel_dim",
}
"""Fields of DeltaNet, and the keys of a `config.json` after `linear_`."""

NORMS_LESS_ONE = ("output_norm", "attn_norm", "post_attention_norm", "attn_q_norm", "attn_k_norm")
"""The norms whose weights folders store less 1."""


def plan(b: PlanBuilder) -> None:
    """`x += mixer(norm1(x))`, `x += Wdown·(silu(Wgate·n) * (Wup·n))`, `n = norm2(x)`.

    The mixer of layers with attention, whose Wq gives q and a gate head by head: `Wo·(attention * sigmoid(gate))`.
    Of the others: `Wout·(norm(delta(silu(conv(Wqkv·n)))) * silu(Wz·n))`, its norm head by head.
    """
    config = b.config
    b.embed("x", "token_embd.weight")
    for layer in range(config.num_layers):
        p = f"blk.{layer}"
        b.norm("n", "x", f"{p}.attn_norm.weight")
        if config.has_attention(layer):
            _attention(b, p, layer)
        else:
            _delta_net(b, p, layer)
        b.add("x", "x", "o")
        b.norm("n", "x", f"{p}.post_attention_norm.weight")
        b.linears("n", {"gate": f"{p}.ffn_gate", "up": f"{p}.ffn_up"})
        b.gated("gate", "gate", "up")
        b.linears("gate", {"o": f"{p}.ffn_down"})
        b.add("x", "x", "o")
    b.norm("hidden", "x", "output_norm.weight")


def _attention(b: PlanBuilder, p: str, layer: int) -> None:
    heads, width = b.config.num_heads, b.config.head_dim
    b.linears("n", {"q_gate": f"{p}.attn_q", "k": f"{p}.attn_k", "v": f"{p}.attn_v"})
    b.slice("q", "q_gate", heads, 0, width)
    b.slice("attn_gate", "q_gate", heads, width, width)
    b.norm("q", "q", f"{p}.attn_q_norm.weight", heads=heads)
    b.norm("k", "k", f"{p}.attn_k_norm.weight", heads=b.config.num_kv_heads)
    b.rope("q", heads, layer)
    b.rope("k", b.config.num_kv_heads, layer)
    b.attention("a", "q", "k", "v", layer)
    b.gated("a", "attn_gate", "a", "sigmoid")
    b.linears("a", {"o": f"{p}.attn_output"})


def _delta_net(b: PlanBuilder, p: str, layer: int) -> None:
    net, rotation = b.config.delta_net, b.config.hadamard
    assert net is not None
    b.linears("n", {"qkv": f"{p}.attn_qkv", "z": f"{p}.attn_gate", "beta": f"{p}.ssm_beta", "alpha": f"{p}.ssm_alpha"})
    b.conv("qkv_conv", "qkv", f"{p}.ssm_conv1d.weight", layer)
    b.delta_rule("d", "qkv_conv", "alpha", "beta", f"{p}.ssm_a", f"{p}.ssm_dt.bias", layer)
    b.norm("d", "d", f"{p}.ssm_norm.weight", heads=net.value_heads)
    b.gated("d", "z", "d")
    out = "d"
    if net.is_tiled and rotation is not None and rotation.values_grouped:
        out = "d_grouped"
        b.transpose(out, "d", net.value_heads // net.key_heads, net.key_heads)
    b.linears(out, {"o": f"{p}.ssm_out"})


def shapes(config: ModelConfig, layer: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's tensors."""
    hidden, intermediate, net = config.hidden_size, config.intermediate_size, config.delta_net
    common: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (hidden,),
        "post_attention_norm.weight": (hidden,),
        "ffn_gate.weight": (intermediate, hidden),
        "ffn_up.weight": (intermediate, hidden),
        "ffn_down.weight": (hidden, intermediate),
    }
    if net is None or config.has_attention(layer):
        q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        return common | {
            "attn_q.weight": (2 * q, hidden),
            "attn_k.weight": (kv, hidden),
            "attn_v.weight": (kv, hidden),
            "attn_output.weight": (hidden, q),
            "attn_q_norm.weight": (config.head_dim,),
            "attn_k_norm.weight": (config.head_dim,),
        }
    channels = 2 * net.keys + net.values
    return common | {
        "attn_qkv.weight": (channels, hidden),
        "attn_gate.weight": (net.values, hidden),
        "ssm_beta.weight": (net.value_heads, hidden),
        "ssm_alpha.weight": (net.value_heads, hidden),
        "ssm_conv1d.weight": (channels, net.conv_width),
        "ssm_dt.bias": (net.value_heads,),
        "ssm_a": (net.value_heads,),
        "ssm_norm.weight": (net.value_dim,),
        "ssm_out.weight": (hidden, net.values),
    }


def read_gguf(keys: Keys, fields: Fields) -> Fields:
    """The delta nets; their layers are listed in `attention.recurrent_layers`, or all but every n-th one."""
    num_layers, value_heads = fields["num_layers"], keys.integer("ssm.time_step_rank")
    inner = keys.integer("ssm.inner_size")
    if not value_heads or inner % value_heads:
        raise FormatError(f"its ssm.inner_size {inner} is no multiple of its ssm.time_step_rank {value_heads}.")
    listed = keys.metadata.get(f"{keys.architecture}.attention.recurrent_layers")
    if listed is None:
        layers = _between(num_layers, keys.integer("full_attention_interval", INTERVAL))
    elif isinstance(listed, np.ndarray) and len(listed) >= num_layers:
        layers = tuple(int(index) for index in np.flatnonzero(listed[:num_layers]))
    else:
        raise FormatError("its attention.recurrent_layers is no list with an entry for each layer.")
    return _fields(
        layers,
        key_heads=keys.integer("ssm.group_count"),
        value_heads=value_heads,
        key_dim=keys.integer("ssm.state_size"),
        value_dim=inner // value_heads,
        conv_width=keys.integer("ssm.conv_kernel"),
        is_tiled=True,
    )


def write_gguf(config: ModelConfig) -> Mapping[str, Any]:
    """The keys of a model whose value heads are in the order of GGUF files."""
    net = config.delta_net
    if net is None:
        return {"full_attention_interval": 1}
    return {
        "ssm.conv_kernel": net.conv_width,
        "ssm.state_size": net.key_dim,
        "ssm.group_count": net.key_heads,
        "ssm.time_step_rank": net.value_heads,
        "ssm.inner_size": net.values,
        "attention.recurrent_layers": np.array([layer in net.layers for layer in range(config.num_layers)]),
    }


def read_hf(raw: Mapping[str, Any], fields: Fields) -> Fields:
    """The delta nets; their layers are listed in `layer_types`, or all but every n-th one."""
    if raw.get("attn_output_gate", True) is not True:
        raise UnsupportedError("its attention has no gate at its output, which Sterna does not do for Qwen3.5.")
    layers = layers_by_type(raw, "linear_attention")
    if layers is None:
        layers = _between(fields["num_layers"], integer(raw, "full_attention_interval", INTERVAL))
    shape = {name: integer(raw, f"linear_{key}") for name, key in HF_NAMES.items()}
    return _fields(layers, **shape, is_tiled=False)


def write_hf(config: ModelConfig) -> Mapping[str, Any]:
    """The keys of a model whose value heads are in the order of folders."""
    rotary_dim = config.rotary_dim or config.head_dim
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    keys = {"rope_parameters": {**rope, "partial_rotary_factor": rotary_dim / config.head_dim}}
    kinds = ("linear_attention", "full_attention")
    layers = {"layer_types": [kinds[config.has_attention(layer)] for layer in range(config.num_layers)]}
    net = config.delta_net
    return keys | layers | ({f"linear_{key}": getattr(net, name) for name, key in HF_NAMES.items()} if net else {})


def _fields(layers: tuple[int, ...], **shape: Any) -> Fields:
    return {"delta_net": DeltaNet(layers, **shape) if layers else None}


def _between(num_layers: int, interval: int) -> tuple[int, ...]:
    """The layers but every `interval`-th one."""
    return tuple(index for index in range(num_layers) if interval and (index + 1) % interval)


QWEN35 = Architecture(
    name="qwen35",
    plan=plan,
    gguf={"qwen35": GGUFVariant("silu")},
    hf={
        name: HFClass("silu") for name in ("Qwen3_5ForCausalLM", "Qwen3_5TextModel", "Qwen3_5ForConditionalGeneration")
    },
    written=("Qwen3_5ForCausalLM", "qwen3_5_text"),
    norms={
        "attn_norm": ("input_layernorm",),
        "post_attention_norm": ("post_attention_layernorm",),
        "attn_q_norm": ("self_attn.q_norm",),
        "attn_k_norm": ("self_attn.k_norm",),
        "ssm_norm": ("linear_attn.norm",),
    },
    matrices={
        **MATRICES,
        "attn_qkv": "linear_attn.in_proj_qkv",
        "attn_gate": "linear_attn.in_proj_z",
        "ssm_out": "linear_attn.out_proj",
    },
    others={
        "ssm_beta.weight": "linear_attn.in_proj_b.weight",
        "ssm_alpha.weight": "linear_attn.in_proj_a.weight",
        "ssm_conv1d.weight": "linear_attn.conv1d.weight",
        "ssm_dt.bias": "linear_attn.dt_bias",
        "ssm_a": "linear_attn.A_log",
    },
    shapes=shapes,
    from_folder={
        "ssm_a": lambda log: -np.exp(log),
        **{f"{norm}.weight": plus_one for norm in NORMS_LESS_ONE},
    },
    to_folder={
        "ssm_a": lambda decay: np.log(-decay),
        **{f"{norm}.weight": minus_one for norm in NORMS_LESS_ONE},
    },
    convolutions=("ssm_conv1d.weight",),
    passed_over=("model.visual.", "vision_tower.", "mtp."),
    partial_rotary=0.25,
    layer_types=("linear_attention", "full_attention"),
    read_gguf=read_gguf,
    write_gguf=write_gguf,
    read_hf=read_hf,
    write_hf=write_hf,
)

ARCHITECTURES = (QWEN35,)
