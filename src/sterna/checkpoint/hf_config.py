"""From `config.json` of a Hugging Face folder to ModelConfig and to how its matrices are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sterna.errors import FormatError, UnsupportedError
from sterna.model.config import ModelConfig

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "BitNetForCausalLM": {"architecture": "bitnet-b1.58", "activation": "relu2", "rope_theta": 500000.0},
    "BitnetForCausalLM": {"architecture": "bitnet", "activation": "silu", "rope_theta": 10000.0},
    "LlamaForCausalLM": {"architecture": "llama", "activation": "silu", "rope_theta": 10000.0},
}
"""By `architectures`, not `model_type`: the 1bitLLM models (BitnetForCausalLM) call theirs llama."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "weight_bits": (1, None),
    "input_bits": (8, None),
}
"""Keys that change the mathematics, and the values with which they do not."""
NEUTRAL_ROPE: dict[str, tuple[Any, ...]] = {
    "rope_type": ("default", None),
    "type": ("default", None),
    "partial_rotary_factor": (1, None),
}

QUANTIZATION: dict[str, tuple[Any, ...]] = {
    "quant_method": ("bitnet",),
    "linear_class": ("autobitlinear", "bitlinear"),
    "quantization_mode": ("online", "offline"),
    "use_rms_norm": (True, False),
}
"""Its keys with a closed set of values; `rms_norm_eps` and `modules_to_not_convert` are the others."""

MAX_INTEGER = 1 << 53
"""JSON's integers beyond it are not the same to every reader (RFC 8259, section 6)."""


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
    scaling = _mapping(raw, "rope_scaling")
    rope = _mapping(raw, "rope_parameters")
    norms = _mapping(raw, "quantization_config")
    _accept(scaling, NEUTRAL_ROPE, "rope_scaling")
    _accept(rope, NEUTRAL_ROPE, "rope_parameters")
    if _integer(raw, "vocab_size", vocab_size) != vocab_size:
        raise FormatError(f"its vocab_size {raw['vocab_size']} is not that of its embedding, {vocab_size}.")
    hidden_size, num_heads = _integer(raw, "hidden_size"), _integer(raw, "num_attention_heads")
    theta = rope.get("rope_theta") or scaling.get("rope_theta") or raw.get("rope_theta") or base["rope_theta"]
    return ModelConfig(
        architecture=base["architecture"],
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=_integer(raw, "intermediate_size"),
        num_layers=_integer(raw, "num_hidden_layers"),
        num_heads=num_heads,
        num_kv_heads=_integer(raw, "num_key_value_heads", num_heads),
        head_dim=_integer(raw, "head_dim", hidden_size // max(num_heads, 1)),
        context_length=_integer(raw, "max_position_embeddings", 2048),
        rms_norm_eps=_number(raw.get("rms_norm_eps"), "rms_norm_eps"),
        rope_theta=_number(theta, "rope_theta"),
        rope_style="half",
        activation=str(raw.get("hidden_act") or base["activation"]),
        tied_head=not has_head or raw.get("tie_word_embeddings") is True,
        input_norm_eps=_number(norms.get("rms_norm_eps", 1e-6), "rms_norm_eps") if norms.get("use_rms_norm") else None,
    )


def read_quantization(raw: Mapping[str, Any], config: ModelConfig) -> Quantization | None:
    """How the matrices are kept; None for a model of float matrices. Unknown keys raise UnsupportedError."""
    if raw.get("quantization_config") is None:
        # The 1bitLLM models have no such section: their code quantises latent weights as it goes.
        latent = architecture_class(raw) == "BitnetForCausalLM"
        return Quantization(divide=False, input_norm=False, unconverted=()) if latent else None
    section = _mapping(raw, "quantization_config")
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


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key) or {}
    if not isinstance(value, dict):
        raise FormatError(f"its {key} is no JSON object.")
    return value


def _number(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"its {key} is {value!r}, and must be a number.")
    try:
        return float(value)
    except OverflowError as error:
        raise FormatError(f"its {key} is larger than any float.") from error


def _integer(raw: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = default if raw.get(key) is None else raw[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise FormatError(f"its {key} is {value!r}, and must be a whole number.")
    if abs(value) > MAX_INTEGER:
        raise FormatError(f"its {key} is beyond 2^53, more than JSON's readers agree on.")
    return value
