"""Adapters as folders of PEFT (huggingface/peft 0.21): `adapter_config.json` and `adapter_model.safetensors`.

A feature that is not listed here changes what the tensors mean, so it is refused by name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint.adapters.adapter import Adapter, LowRank
from sterna.checkpoint.adapters.patterns import Pattern
from sterna.errors import FormatError, NotFoundError, UnsupportedError
from sterna.files.json_values import integer, number
from sterna.files.safetensors.reader import FLOATS, StoredTensor, read_json, read_safetensors
from sterna.files.safetensors.writer import OutTensor, write_file
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig
from sterna.tensor.decode import decode

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"

COPIES = ("model.embed_tokens.weight", "lm_head.weight", "lm_head.base_layer.weight")

READ = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "base_model_name_or_path", "peft_type")
"""Keys of a config whose values are used."""

DESCRIPTIVE = (
    "task_type",
    "auto_mapping",
    "revision",
    "inference_mode",
    "peft_version",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "lora_dropout",
    "megatron_core",
    "qalora_group_size",
    "runtime_config",
    "ensure_weight_tying",
    "eva_config",
    "lora_ga_config",
)
"""Keys that say how the adapter was trained, or which modules it has: the tensors show which these are."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),
}
"""Values at which a key changes nothing, beside None, False and empty ones. Other initialisations change the base
model, and what their adapters are added to."""

REASONS = {
    "use_dora": "is for DoRA, which scales the merged matrix by its norms",
    "modules_to_save": "replaces whole matrices of the model",
    "init_lora_weights": "changes the weights of the base model; convert the adapter with PEFT's "
    "path_initial_model_for_weight_conversion",
    "trainable_token_indices": "replaces rows of the embedding",
}


def read_peft(folder: Path, config: ModelConfig) -> Adapter:
    """The adapter in a folder, for a model; its shapes are not checked yet.

    Raises NotFoundError where files are missing, FormatError for broken ones, UnsupportedError for features that Sterna
    does not run, each named, and for weights in a pickle, which may run code when it is read.
    """
    raw = read_json(folder / CONFIG)
    _check_features(raw)
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLE).is_file():
            raise UnsupportedError(
                f"it has {PICKLE} alone, a pickle, which can run any code when it is read: save the adapter again with "
                "safe_serialization=True."
            )
        raise NotFoundError(f"{folder / WEIGHTS} is missing.")
    halves: dict[str, dict[str, np.ndarray]] = {}
    modules = _modules(config)
    for name, stored in read_safetensors(folder / WEIGHTS).items():
        if _is_copy(name, stored, config):
            continue
        module, half = _place(name)
        canonical = modules.get(module) or modules.get(f"model.{module}")
        if canonical is None:
            raise FormatError(f"it adapts {module!r}, which this model does not have as a matrix.")
        halves.setdefault(canonical, {})[half] = _values(stored)
    scale_of = _scales(raw)
    names = {canonical: module for module, canonical in modules.items()}
    updates = {}
    for canonical, pair in halves.items():
        if len(pair) != 2:
            raise FormatError(f"it has only one of A and B for {names[canonical]!r}.")
        updates[canonical] = LowRank(pair["a"], pair["b"], scale_of(names[canonical], len(pair["a"])))
    base = raw.get("base_model_name_or_path")
    return Adapter(updates, base if isinstance(base, str) else "")


def _check_features(raw: Mapping[str, Any]) -> None:
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise UnsupportedError(f"its peft_type is {kind!r}, and Sterna runs LORA alone.")
    for key, value in raw.items():
        if key in READ or key in DESCRIPTIVE or value is None or value is False or value in ([], {}, ""):
            continue
        # `1 == True`: types count, too.
        if not any(type(value) is type(neutral) and value == neutral for neutral in NEUTRAL.get(key, ())):
            reason = f", which {REASONS[key]}" if key in REASONS else ""
            raise UnsupportedError(f"its {CONFIG} has {key} = {str(value)[:60]!r}{reason}: Sterna does not run that.")


def _modules(config: ModelConfig) -> dict[str, str]:
    """Canonical names by the names of modules in folders."""
    names = architecture_of(config).hf_names(config.num_layers)
    return {
        source.removesuffix(".weight"): canonical
        for canonical, sources in names.items()
        for source in sources
        if canonical.endswith(".weight")
    }


def _is_copy(name: str, stored: StoredTensor, config: ModelConfig) -> bool:
    """Whether a tensor is the model's own embedding or head, which PEFT saves beside an adapter of the head. Training
    can have changed it only where `modules_to_save` says so, or its shape: UnsupportedError."""
    if name.removeprefix(PREFIX) not in COPIES:
        return False
    if stored.shape != (config.vocab_size, config.hidden_size):
        raise UnsupportedError(f"its {name!r} has the shape {list(stored.shape)}: it was trained with more tokens.")
    return True


def _place(name: str) -> tuple[str, str]:
    """The module that a tensor belongs to, and which half of its update it is."""
    module, _, end = name.removeprefix(PREFIX).partition(".lora_")
    half = {"A.weight": "a", "B.weight": "b", "A.default.weight": "a", "B.default.weight": "b"}.get(end)
    if half is None:
        what = {"magnitude_vector": "DoRA", "B.bias": "lora_bias"}.get(end.removesuffix(".weight"), name[:100])
        if end.startswith("embedding"):
            what = "an adapter of the embedding"
        raise UnsupportedError(f"its tensors hold {what!r}, which Sterna does not run.")
    return module, half


def _values(stored: StoredTensor) -> np.ndarray:
    """A stored matrix in float32."""
    if stored.dtype not in FLOATS or len(stored.shape) != 2:
        raise FormatError(f"its tensor {stored.name!r} is no matrix of F32, F16 or BF16.")
    return decode(stored.floats())


def _scales(raw: Mapping[str, Any]) -> Callable[[str, int], float]:
    """A function that gives the scale of a module, whose tensors have a rank that must be the config's."""
    ranks = Pattern(raw, "rank_pattern", integer(raw, "r"))
    alphas = Pattern(raw, "alpha_pattern", number(raw.get("lora_alpha"), "lora_alpha"))
    rslora = raw.get("use_rslora", False)
    if rslora not in (None, False, True):
        raise FormatError("its use_rslora is neither true nor false.")

    def scale_of(module: str, rank: int) -> float:
        if ranks.of(module) != rank or rank == 0:
            raise FormatError(f"its A for {module!r} has the rank {rank}, and its config says {ranks.of(module):g}.")
        scale = alphas.of(module) / (sqrt(rank) if rslora else rank)
        if not isfinite(scale):
            raise FormatError(f"its lora_alpha for {module!r} is not finite.")
        return scale

    return scale_of


def write_peft(folder: Path, adapter: Adapter, config: ModelConfig) -> None:
    """Writes an adapter into an empty folder, in float32. Raises UnsupportedError for one without updates."""
    names = {canonical: module for module, canonical in reversed(_modules(config).items())}
    if not adapter.updates:
        raise UnsupportedError("An adapter without updates cannot be written.")
    modules = {names[canonical]: low for canonical, low in adapter.updates.items()}
    rank = Counter(low.rank for low in modules.values()).most_common(1)[0][0]
    alpha = Counter(_tidy(low.alpha) for low in modules.values()).most_common(1)[0][0]
    raw = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": adapter.base or None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": _targets(list(modules), config),
        "rank_pattern": {name: low.rank for name, low in modules.items() if low.rank != rank},
        "alpha_pattern": {name: _tidy(low.alpha) for name, low in modules.items() if _tidy(low.alpha) != alpha},
        "use_rslora": False,
        "use_dora": False,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
    }
    tensors = [
        _out(f"{PREFIX}{module}{end}", values)
        for module, low in modules.items()
        for end, values in ((A, low.a), (B, low.b))
    ]
    write_file(folder / WEIGHTS, tensors)
    (folder / CONFIG).write_text(json.dumps(raw, indent=2) + "\n")


def _tidy(alpha: float) -> float | int:
    """A whole number as such: PEFT declares `lora_alpha` as one."""
    near = round(alpha)
    return near if abs(alpha - near) <= 1e-9 * abs(alpha) else alpha


def _targets(modules: list[str], config: ModelConfig) -> list[str]:
    """`target_modules`: the last parts of the names, unless these fit modules that are not adapted."""
    ends = {module.rpartition(".")[2] for module in modules}
    fitting = {module for module in _modules(config) if module.rpartition(".")[2] in ends}
    return sorted(ends if fitting == set(modules) else modules)


def _out(name: str, values: np.ndarray) -> OutTensor:
    def make() -> Iterator[np.ndarray]:
        yield np.ascontiguousarray(values, "<f4").reshape(-1).view(np.uint8)

    return OutTensor(name, "F32", values.shape, make)
