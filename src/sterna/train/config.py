"""The TOML file that describes a training run, as dataclasses: every key is checked before anything starts."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sterna.errors import ArgumentError, SternaError
from sterna.model.config import ModelConfig
from sterna.model.validate import check_config
from sterna.ternary.groups import GroupQuantizer, group_quantizer

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSection:
    """Shape of a `bitnet-b1.58` decoder (tied head, relu², half-split RoPE, sub-norms)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    context_length: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def model_config(self) -> ModelConfig:
        """The same shape as a ModelConfig. Raises ArgumentError where the numbers do not fit together."""
        for condition, sentence in (
            (
                min(self.hidden_size, self.intermediate_size, self.num_layers) >= 1,
                "sizes of [model] must be positive",
            ),
            (
                self.context_length >= 2,
                "model.context_length must be at least 2",
            ),
            (
                320 <= self.vocab_size <= 65536,
                "model.vocab_size must lie in 320..65536 (256 bytes, merges, 16-bit token files)",
            ),
            (
                min(self.num_heads, self.num_kv_heads) >= 1 and self.num_heads % self.num_kv_heads == 0,
                "model.num_heads must be a multiple of model.num_kv_heads",
            ),
            (
                self.num_heads >= 1 and self.hidden_size % (2 * self.num_heads) == 0,
                "model.hidden_size must be a multiple of 2 * model.num_heads",
            ),
            (
                self.hidden_size % 128 == 0 and self.intermediate_size % 128 == 0,
                "model.hidden_size and model.intermediate_size must be multiples of 128 (I2_S blocks)",
            ),
        ):
            if not condition:
                raise ArgumentError(f"{sentence}.")
        config = ModelConfig(
            architecture="bitnet-b1.58",
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.hidden_size // self.num_heads,
            context_length=self.context_length,
            rms_norm_eps=self.rms_norm_eps,
            rope_theta=self.rope_theta,
            rope_style="half",
            activation="relu2",
            tied_head=True,
        )
        try:
            check_config(config)
        except SternaError as error:
            raise ArgumentError(str(error)) from error
        return config


@dataclass(frozen=True)
class DataSection:
    """UTF-8 text files (.xz is unpacked), as `document_parts` reads them; paths are relative to the TOML file."""

    train: list[str]
    valid: list[str]


@dataclass(frozen=True)
class TrainingSection:
    """Training options: AdamW with a warm-up, a constant and a linear-decay phase (WSD, arXiv 2404.06395)."""

    steps: int
    batch_size: int
    learning_rate: float
    embedding_learning_rate: float
    optimizer: str = "adamw"
    warmup_steps: int = 100
    decay_fraction: float = 0.2
    weight_decay: float = 0.1
    z_loss: float = 0.0
    gradient_clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    compile: bool = False
    eval_bytes: int = 100_000
    eval_steps: int = 500
    checkpoint_steps: int = 100
    log_steps: int = 20


@dataclass(frozen=True)
class QuantizationSection:
    """How weights are made ternary: by BitNet's absmean, or, with a `group_size`, with a scale for each group."""

    group_size: int | None = None
    zero_share: float | None = None
    """Share of each group that is 0; None: what lies below half the group's mean magnitude."""
    embedding: bool = False
    """Whether the embedding is ternary too."""

    def groups(self) -> GroupQuantizer | None:
        """The quantiser; None for absmean. Raises ArgumentError where the keys do not fit together."""
        if self.group_size is None:
            if self.zero_share is not None or self.embedding:
                raise ArgumentError("quantization.zero_share and embedding need a quantization.group_size.")
            return None
        try:
            return group_quantizer(self.group_size, self.zero_share)
        except ValueError as error:
            raise ArgumentError(f"[quantization] cannot be used: {error}.") from error


@dataclass(frozen=True)
class RunConfig:
    """A whole run: model, data, training options, and the folder for tokenizer, tokens, checkpoint and exports."""

    name: str
    output: str
    model: ModelSection
    data: DataSection
    training: TrainingSection
    quantization: QuantizationSection = field(default_factory=QuantizationSection)


def _typed(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`. TOML integers are accepted as floats, booleans are not accepted as integers."""
    if get_origin(hint) is list:
        (item,) = get_args(hint)
        if not isinstance(value, list) or not value:
            raise ArgumentError(f"{where} must be a list that is not empty.")
        return [_typed(entry, item, where) for entry in value]
    if type(None) in get_args(hint):  # TOML has no null: the key is left out
        return _typed(value, get_args(hint)[0], where)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return _section(value, hint, where)
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise ArgumentError(f"{where} does not fit the 64 bits of TOML's integers.")
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ArgumentError(f"{where} must be of type {hint.__name__}, not {type(value).__name__}.")
    return value


def _section(table: Any, kind: type[T], where: str) -> T:
    """A dataclass of `kind` from a TOML table. Raises ArgumentError for unknown, missing and wrongly typed keys."""
    if not isinstance(table, dict):
        raise ArgumentError(f"{where} must be a table.")
    prefix = f"{where}." if where else ""
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ArgumentError(f"Unknown key {prefix}{key} in the training config; known here: {', '.join(known)}.")
    for name, entry in known.items():
        if name not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise ArgumentError(f"The training config lacks {prefix}{name}.")
    hints = get_type_hints(kind)
    return kind(**{key: _typed(value, hints[key], f"{prefix}{key}") for key, value in table.items()})


def parse_config(table: dict[str, Any]) -> RunConfig:
    """A checked RunConfig from a parsed TOML table. Raises ArgumentError with one sentence."""
    config = _section(table, RunConfig, "")
    config.model.model_config()
    config.quantization.groups()
    training = config.training
    for condition, sentence in (
        (
            re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name),
            "name must consist of letters, digits, '.', '_' and '-'",
        ),
        (training.precision in ("fp32", "bf16"), 'training.precision must be "fp32" or "bf16"'),
        (training.optimizer in ("adamw", "muon"), 'training.optimizer must be "adamw" or "muon"'),
        (training.steps >= 1 and training.batch_size >= 1, "training.steps and training.batch_size must be positive"),
        (0.0 <= training.decay_fraction <= 1.0, "training.decay_fraction must lie in 0..1"),
        (
            0 < training.learning_rate < math.inf and 0 < training.embedding_learning_rate < math.inf,
            "learning rates must be positive and finite",
        ),
        (
            min(training.eval_steps, training.checkpoint_steps, training.log_steps, training.eval_bytes) >= 1,
            "intervals of [training] must be positive",
        ),
        (
            all(0 <= getattr(training, key) < math.inf for key in ("warmup_steps", "weight_decay", "z_loss", "seed")),
            "training.warmup_steps, weight_decay, z_loss and seed must be finite and not negative",
        ),
        (training.gradient_clip > 0, "training.gradient_clip must be positive; inf clips nothing"),
    ):
        if not condition:
            raise ArgumentError(f"{sentence}.")
    return config


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads and checks a TOML file, with some keys replaced: `training.steps=100`, `model.hidden_size=256`.

    A value is TOML; a value that is not TOML is a string. Raises ArgumentError for a missing file, broken TOML, wrong
    keys and an override without a key or a value.
    """
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArgumentError(f"Cannot read the training config {path}: {error}.") from error
    for override in overrides:
        _set(table, override)
    return parse_config(table)


def _set(table: dict[str, Any], override: str) -> None:
    """Replaces one key of a parsed TOML table."""
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    try:
        value = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        value = {}
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ArgumentError(f"{section} is no section of the training config.")
        table = inner
    if not equals or not name:
        raise ArgumentError(f"{override!r} overrides nothing; write KEY=VALUE, such as training.steps=100.")
    # Text with a line break could hold more keys than one value.
    table[name] = value["value"] if value.keys() == {"value"} else text.strip()
