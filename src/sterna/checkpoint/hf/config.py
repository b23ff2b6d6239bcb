"""From `config.json` of a Hugging Face folder to ModelConfig and to how its matrices are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sterna.checkpoint.hf.rope import read_rope
from sterna.errors import FormatError, UnsupportedError
from sterna.files.json_values import integer, mapping, number
from sterna.model.config import ModelConfig

_QWEN3 = {"architecture": "qwen3", "activation": "silu", "rope_theta": 10000.0}
_GEMMA3 = {"architecture": "gemma3", "activation": "gelu_pytorch_tanh", "rope_theta": 1000000.0}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "BitNetForCausalLM": {"architecture": "bitnet-b1.58", "activation": "relu2", "rope_theta": 500000.0},
    "BitnetForCausalLM": {"architecture": "bitnet", "activation": "silu", "rope_theta": 10000.0},
    "LlamaForCausalLM": {"architecture": "llama", "activation": "silu", "rope_theta": 10000.0},
    "MistralForCausalLM": {"architecture": "llama", "activation": "silu", "rope_theta": 10000.0},
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3Model": _QWEN3,
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3TextModel": _GEMMA3,
}
"""By `architectures`, not `model_type`: the 1bitLLM models (BitnetForCausalLM) call theirs llama. The classes without a
head are those of embedding models."""

ACTIVATIONS = {"relu2": "relu2", "silu": "silu", "gelu_pytorch_tanh": "gelu"}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "weight_bits": (1, None),
    "input_bits": (8, None),
    "partial_rotary_factor": (1, None),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "use_bidirectional_attention": (False, None),
}
"""Keys that change the mathematics, and the values with which they do not."""

QUANTIZATION: dict[str, tuple[Any, ...]] = {
    "quant_method": ("bitnet",),
    "linear_class": ("autobitlinear", "bitlinear"),
    "quantization_mode": ("online", "offline"),
    "use_rms_norm": (True, False),
}
"""Its keys with a closed set of values; `rms_norm_eps` and `modules_to_not_convert` are the others."""

MAX_LAYERS = 1 << 10


@dataclass(frozen=True)
class Quantization:
    """What `quantization_config` says about the linear matrices of layers."""

    divide: bool
    """`bitlinear`, or no class: the stored scale divides. `autobitlinear`: it multiplies."""
    input_norm: bool
    """An RMSNorm of its own before every quantised matrix."""
    unconverted: tuple[str, ...]
    """Modules that stay float: by full name, by its beginning up to a dot, or by its end."""

    def converts(self, module: str) -> bool:
        """Whether the module of this full name is ternary."""
        kept = self.unconverted
        return not any(module.endswith(name) or f"{module}.".startswith(name.rstrip(".") + ".") for name in kept)


def read_config(raw: Mapping[str, Any], vocab_size: int, has_head: bool) -> ModelConfig:
    """ModelConfig of a `config.json`; `has_head` says whether the files hold a `lm_head.weight`.

    Raises UnsupportedError for what Sterna does not compute, FormatError for values of the wrong kind.
    """
    base = ARCHITECTURES[architecture_class(raw)]
    _accept(raw, NEUTRAL, "config.json")
    norms = mapping(raw, "quantization_config")
    if integer(raw, "vocab_size", vocab_size) != vocab_size:
        raise FormatError(f"its vocab_size {raw['vocab_size']} is not that of its embedding, {vocab_size}.")
    activation = raw.get("hidden_activation") or raw.get("hidden_act") or base["activation"]
    if activation not in ACTIVATIONS:
        raise UnsupportedError(f"its activation is {activation!r}, and Sterna knows {', '.join(ACTIVATIONS)}.")
    hidden_size, num_heads = integer(raw, "hidden_size"), integer(raw, "num_attention_heads")
    head_dim = integer(raw, "head_dim", hidden_size // max(num_heads, 1))
    gemma = base["architecture"] == "gemma3"
    rope = read_rope(raw, head_dim, base["rope_theta"])
    window, local = _sliding_window(raw, base["architecture"])
    return ModelConfig(
        architecture=base["architecture"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=integer(raw, "intermediate_size"),
        num_layers=integer(raw, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=integer(raw, "num_key_value_heads", num_heads),
        head_dim=head_dim,
        context_length=rope.context_length,
        rms_norm_eps=number(raw.get("rms_norm_eps"), "rms_norm_eps"),
        rope_theta=rope.theta,
        rope_style="half",
        activation=ACTIVATIONS[activation],
        tied_head=not has_head or raw.get("tie_word_embeddings", gemma) is True,
        input_norm_eps=number(norms.get("rms_norm_eps", 1e-6), "rms_norm_eps") if norms.get("use_rms_norm") else None,
        embedding_scale=hidden_size**0.5 if gemma else 1.0,
        rope_divisors=rope.divisors,
        rope_attention_factor=rope.attention_factor,
        query_scale=_query_scale(raw, head_dim) if gemma else None,
        sliding_window=window,
        local_layers=local if gemma else (),
        local_rope_theta=rope.local_theta,
    )


def _sliding_window(raw: Mapping[str, Any], architecture: str) -> tuple[int | None, tuple[int, ...]]:
    """The window of those layers that have one, and which layers these are (in Gemma 3 with another RoPE)."""
    layers = min(integer(raw, "num_hidden_layers"), MAX_LAYERS)
    types = raw.get("layer_types")
    if types is None:
        period = integer(raw, "sliding_window_pattern", 6) if architecture == "gemma3" else 0
        local = [index for index in range(layers) if period == 0 or (index + 1) % period]
    elif isinstance(types, list) and len(types) <= MAX_LAYERS and set(types) <= {"sliding_attention", "full_attention"}:
        local = [index for index, kind in enumerate(types) if kind == "sliding_attention"]
    else:
        raise UnsupportedError("its layer_types are none that Sterna knows.")
    in_use = raw.get("use_sliding_window", architecture != "qwen3") and local
    return (integer(raw, "sliding_window", 0) or None) if in_use else None, tuple(local)


def _query_scale(raw: Mapping[str, Any], head_dim: int) -> float | None:
    size = number(raw.get("query_pre_attn_scalar", 256), "query_pre_attn_scalar")
    if not size > 0:
        raise FormatError(f"its query_pre_attn_scalar is {size}.")
    return None if size == head_dim else size**-0.5


def read_quantization(raw: Mapping[str, Any], config: ModelConfig, input_norms: bool) -> Quantization | None:
    """How the matrices are kept; None for a model of float matrices. Unknown keys raise UnsupportedError.

    `input_norms` says whether matrices have norms of their own (`*.norm.weight`).
    """
    if raw.get("quantization_config") is None:
        # The 1bitLLM models and the BitNet embeddings have no such section: their code quantises as it goes.
        latent = input_norms or architecture_class(raw) == "BitnetForCausalLM"
        return Quantization(divide=False, input_norm=input_norms, unconverted=()) if latent else None
    section = mapping(raw, "quantization_config")
    for key in section.keys() - QUANTIZATION.keys() - {"rms_norm_eps", "modules_to_not_convert"}:
        raise UnsupportedError(f"its quantization_config has a key {key!r}, which Sterna does not know.")
    if "quant_method" not in section:
        raise UnsupportedError("its quantization_config does not name its quant_method.")
    for key, accepted in QUANTIZATION.items():
        if key in section and section[key] not in accepted:
            raise UnsupportedError(
                f"its quantization_config asks for {key} = {section[key]!r}, which Sterna does not do."
            )
    return Quantization(
        divide=section.get("linear_class", "bitlinear") == "bitlinear",
        input_norm=section.get("use_rms_norm", False),
        unconverted=_unconverted(section.get("modules_to_not_convert"), config),
    )


def architecture_class(raw: Mapping[str, Any]) -> str:
    """The one class in `architectures` that Sterna knows."""
    match raw.get("architectures"):
        case [str(name)] if name in ARCHITECTURES:
            return name
        case other:
            raise UnsupportedError(f"its architectures are {other!r}, and Sterna knows {', '.join(ARCHITECTURES)}.")


def _unconverted(modules: Any, config: ModelConfig) -> tuple[str, ...]:
    if modules is None:
        return ("lm_head",)
    if not isinstance(modules, list) or not all(isinstance(module, str) and module for module in modules):
        raise FormatError("its modules_to_not_convert is no list of names.")
    if any(not module.replace("_", "").replace(".", "").isalnum() for module in modules):
        raise UnsupportedError("its modules_to_not_convert has patterns, and Sterna reads names alone.")
    quantization = Quantization(divide=False, input_norm=False, unconverted=tuple(modules))
    if not config.tied_head and quantization.converts("lm_head"):
        raise UnsupportedError("its modules_to_not_convert leaves out lm_head, and Sterna has no ternary head.")
    return tuple(modules)


def _accept(section: Mapping[str, Any], table: Mapping[str, tuple[Any, ...]], where: str) -> None:
    for key, accepted in table.items():
        if key in section and section[key] not in accepted:
            raise UnsupportedError(f"its {where} asks for {key} = {section[key]!r}, which Sterna does not do.")
