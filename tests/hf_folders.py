"""Hugging Face folders of random models, in the forms of published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    BitNetConfig,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
)
from transformers.integrations.bitnet import pack_weights

SHAPES = {
    "grouped": {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2},
    "one-kv": {"hidden_size": 96, "intermediate_size": 128, "num_attention_heads": 3, "num_key_value_heads": 1},
    "all-kv": {"hidden_size": 128, "intermediate_size": 320, "num_attention_heads": 4, "num_key_value_heads": 4},
}
CONFIGS = {
    "BitNetForCausalLM": BitNetConfig,
    "LlamaForCausalLM": LlamaConfig,
    "MistralForCausalLM": MistralConfig,
    "Qwen2ForCausalLM": Qwen2Config,
    "Qwen3ForCausalLM": Qwen3Config,
    "Qwen3_5ForCausalLM": Qwen3_5TextConfig,
    "Gemma3ForCausalLM": Gemma3TextConfig,
}


def random_model(architecture: str, shape: str, seed: int = 0, **keys: Any) -> PreTrainedModel:
    """A float model whose norms are not all ones, and whose biases are not all zero."""
    torch.manual_seed(seed)
    common = {"vocab_size": 160, "num_hidden_layers": 2, "max_position_embeddings": 128, "initializer_range": 0.1}
    special = {"pad_token_id": None, "bos_token_id": 1, "eos_token_id": 2}
    config = CONFIGS[architecture](**(common | special | SHAPES[shape] | keys))
    model = AutoModelForCausalLM.from_config(config)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        if name.endswith(".bias"):
            torch.nn.init.uniform_(parameter, -1, 1)
    return model


def quantization(**keys: Any) -> dict[str, Any]:
    """A `quantization_config`."""
    return {"quant_method": "bitnet", "modules_to_not_convert": None} | keys


def save(folder: Path, model: PreTrainedModel, section: dict[str, Any] | None, packed: bool) -> None:
    """Writes config.json and model.safetensors. `packed` matrices have the scale that the section's class expects."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in model.state_dict().items():
        weight = weight.detach().clone()
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if "_proj." in name and packed:
            mean = weight.abs().mean().clamp(min=1e-5)
            tensors[name] = pack_weights((weight / mean).round().clamp(-1, 1))
            divide = (section or {}).get("linear_class", "bitlinear") == "bitlinear"
            tensors[name + "_scale"] = (1 / mean if divide else mean).reshape(1)
        else:
            tensors[name] = weight
        if "_proj." in name and (section or {}).get("use_rms_norm"):
            norm = torch.empty(weight.shape[1]).uniform_(0.5, 1.5)
            tensors[name.removesuffix("weight") + "rms_norm.weight"] = norm
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": [type(model).__name__], "dtype": "float32"}
    if section is not None:
        config["quantization_config"] = section
    (folder / "config.json").write_text(json.dumps(config))
