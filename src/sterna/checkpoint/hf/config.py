"""Reads `config.json` of a Hugging Face folder: the ModelConfig, and how the matrices are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sterna.checkpoint.hf.mlx import is_mlx
from sterna.checkpoint.hf.rope import read_rope
from sterna.errors import FormatError, UnsupportedError
from sterna.files.json_values import integer, mapping, number
from sterna.model.architecture import MAX_LAYERS, Fields, check_layer_types
from sterna.model.architectures import ARCHITECTURES, HF_CLASSES
from sterna.model.config import ModelConfig

CLASSES_BY_TYPE = {
    kind: name
    for architecture in ARCHITECTURES.values()
    if architecture.written
    for name, kind in [architecture.written]
}
"""The class of a model by the `model_type` of its `config.json`."""

BITLLAMA = "bitllama"
"""OneBit's `model_type`, of Llama models with classes of its own."""

ACTIVATIONS = {"relu2": "relu2", "silu": "silu", "gelu_pytorch_tanh": "gelu"}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "weight_bits": (1, None),
    "input_bits": (8, None),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "use_bidirectional_attention": (False, None),
}
"""Keys that change the mathematics, with the values at which they have no effect."""

QUANTIZATION: dict[str, tuple[Any, ...]] = {
    "quant_method": ("bitnet",),
    "linear_class": ("autobitlinear", "bitlinear"),
    "quantization_mode": ("online", "offline"),
    "use_rms_norm": (True, False),
}
"""Keys of `quantization_config` with a closed set of values; the others are `rms_norm_eps` and
`modules_to_not_convert`."""


@dataclass(frozen=True)
class Quantization:
    """What `quantization_config` says about the linear matrices of layers."""

    divide: bool
    """Whether the stored scale divides (`bitlinear`, or no class) or multiplies (`autobitlinear`)."""
    input_norm: bool
    """Whether every quantised matrix has an input norm."""
    unconverted: tuple[str, ...]
    """Modules that stay float: full names, beginnings of names up to a dot, or ends of names."""

    def converts(self, module: str) -> bool:
        """Whether the module of this full name is ternary."""
        kept = self.unconverted
        return not any(module.endswith(name) or f"{module}.".startswith(name.rstrip(".") + ".") for name in kept)


def read_config(raw: Mapping[str, Any], vocab_size: int, has_head: bool) -> ModelConfig:
    """ModelConfig of a `config.json`; `has_head` says whether the model has a head that is not its embedding.

    Raises UnsupportedError for what Sterna does not compute, FormatError for values of the wrong kind.
    """
    architecture, hf_class = HF_CLASSES[architecture_class(raw)]
    _accept(raw, NEUTRAL, "config.json")
    check_layer_types(raw, architecture.layer_types)
    norms = mapping(raw, "quantization_config")
    if integer(raw, "vocab_size", vocab_size) != vocab_size:
        raise FormatError(f"its vocab_size {raw['vocab_size']} is not that of its embedding, {vocab_size}.")
    activation = raw.get("hidden_activation") or raw.get("hidden_act") or hf_class.activation
    if activation not in ACTIVATIONS:
        raise UnsupportedError(f"its activation is {activation!r}, and Sterna knows {', '.join(ACTIVATIONS)}.")
    hidden_size, num_heads = integer(raw, "hidden_size"), integer(raw, "num_attention_heads")
    head_dim = integer(raw, "head_dim", hidden_size // max(num_heads, 1))
    rope = read_rope(raw, head_dim, hf_class.rope_theta, architecture.partial_rotary)
    fields: Fields = {
        "architecture": architecture.name,
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": integer(raw, "intermediate_size"),
        "num_layers": min(integer(raw, "num_hidden_layers"), MAX_LAYERS + 1),  # `check_config` refuses more
        "num_heads": num_heads,
        "num_kv_heads": integer(raw, "num_key_value_heads", num_heads),
        "head_dim": head_dim,
        "context_length": rope.context_length,
        "rms_norm_eps": number(raw.get("rms_norm_eps"), "rms_norm_eps"),
        "rope_theta": rope.theta,
        "rope_style": "half",
        "rotary_dim": None if rope.rotary_dim == head_dim else rope.rotary_dim,
        "activation": ACTIVATIONS[activation],
        "tied_head": not has_head,
        "input_norm_eps": number(norms.get("rms_norm_eps", 1e-6), "rms_norm_eps")
        if norms.get("use_rms_norm")
        else None,
        "rope_divisors": rope.divisors,
        "rope_attention_factor": rope.attention_factor,
        "local_rope_theta": rope.local_theta,
    }
    return ModelConfig(**{**fields, **architecture.read_hf(raw, fields)})


def read_quantization(raw: Mapping[str, Any], config: ModelConfig, input_norms: bool) -> Quantization | None:
    """How the matrices are kept; None for a model of float matrices or of MLX's. Unknown keys raise UnsupportedError.

    `input_norms` says whether matrices have input norms (`*.norm.weight`).
    """
    if raw.get("quantization_config") is None:
        # The BitNet embedding models, too, have no such section.
        latent = input_norms or HF_CLASSES[architecture_class(raw)][1].latent
        return Quantization(divide=False, input_norm=input_norms, unconverted=()) if latent else None
    section = mapping(raw, "quantization_config")
    if is_mlx(section):
        return None
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


def decoder_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A `config.json` with the keys of its decoder, which one of a model with vision keeps under `text_config`, at the
    top. What the file says of the whole model comes first. Where it names no class, that of its `model_type` is taken,
    as in transformers."""
    whole = {key: value for key, value in raw.items() if key != "text_config"}
    config = {**mapping(raw, "text_config"), **whole}
    kind = config.get("model_type")
    if kind == BITLLAMA:
        return config | {"architectures": ["LlamaForCausalLM"]}
    if config.get("architectures") is None and isinstance(kind, str) and kind in CLASSES_BY_TYPE:
        config["architectures"] = [CLASSES_BY_TYPE[kind]]
    return config


def is_tied(raw: Mapping[str, Any]) -> bool:
    """Whether a `config.json` says that the model's head is its embedding."""
    return raw.get("tie_word_embeddings", HF_CLASSES[architecture_class(raw)][1].tied_head) is True


def architecture_class(raw: Mapping[str, Any]) -> str:
    """The one class in `architectures`. It decides, not `model_type`, because that of the 1bitLLM models is `llama`.

    Raises UnsupportedError for a class that Sterna does not know.
    """
    match raw.get("architectures"):
        case [str(name)] if name in HF_CLASSES:
            return name
        case other:
            raise UnsupportedError(f"its architectures are {other!r}, and Sterna knows {', '.join(HF_CLASSES)}.")


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


def _accept(section: Mapping[str, Any], known: Mapping[str, tuple[Any, ...]], where: str) -> None:
    for key, accepted in known.items():
        if key in section and section[key] not in accepted:
            raise UnsupportedError(f"its {where} asks for {key} = {section[key]!r}, which Sterna does not do.")
