"""The TOML file that describes a training run, as dataclasses: every key is checked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sterna.errors import ArgumentError, SternaError
from sterna.model.architectures import ARCHITECTURES
from sterna.model.config import ModelConfig
from sterna.model.validate import check_config
from sterna.ternary.groups import GroupQuantizer, group_quantizer
from sterna.ternary.quantization import Quantization
from sterna.train.presets import preset_table
from sterna.train.toml import check, check_name, merged, read_table, replace_key, section

TRAINED = ("bitnet-b1.58", "bitnet", "llama", "qwen3")
"""The architectures that `sterna.train.model` can build."""
SCHEDULES = ("wsd", "linear", "cosine")
OPTIMIZERS = ("adamw", "muon")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class ModelSection:
    """Shape of a decoder. `bitnet-b1.58` has relu² and norms before both output projections, `bitnet` the same with
    SiLU, `llama` no such norms, `qwen3` norms of q and k; all have half-split RoPE."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    context_length: int
    architecture: str = "bitnet-b1.58"
    head_dim: int | None = None
    """None: hidden_size / num_heads, as the BitNet architectures need it."""
    tied_head: bool = True
    """Whether the embedding is the head, too."""
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def model_config(self) -> ModelConfig:
        """The same shape as a ModelConfig. Raises ArgumentError where the numbers do not fit together."""
        check(
            (self.architecture in TRAINED, f"model.architecture must be one of {', '.join(TRAINED)}"),
            (
                min(self.hidden_size, self.intermediate_size, self.num_layers) >= 1,
                "sizes of [model] must be positive",
            ),
            (self.context_length >= 2, "model.context_length must be at least 2"),
            (
                320 <= self.vocab_size <= 65536,
                "model.vocab_size must lie in 320..65536 (256 bytes, merges, 16-bit token files)",
            ),
            (
                min(self.num_heads, self.num_kv_heads) >= 1 and self.num_heads % self.num_kv_heads == 0,
                "model.num_heads must be a multiple of model.num_kv_heads",
            ),
            (
                self.head_dim is not None or self.num_heads >= 1 and self.hidden_size % (2 * self.num_heads) == 0,
                "model.hidden_size must be a multiple of 2 * model.num_heads, or model.head_dim be given",
            ),
            (
                self.hidden_size % 128 == 0 and self.intermediate_size % 4 == 0,
                "model.hidden_size must be a multiple of 128 (I2_S blocks) and model.intermediate_size one of 4",
            ),
        )
        config = ModelConfig(
            architecture=self.architecture,
            vocab_size=self.vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.hidden_size // self.num_heads if self.head_dim is None else self.head_dim,
            context_length=self.context_length,
            rms_norm_eps=self.rms_norm_eps,
            rope_theta=self.rope_theta,
            rope_style="half",
            activation=ARCHITECTURES[self.architecture].gguf[self.architecture].activation,
            tied_head=self.tied_head,
        )
        try:
            check_config(config)
        except SternaError as error:
            raise ArgumentError(str(error)) from error
        return config


@dataclass(frozen=True)
class DataSection:
    """UTF-8 text files (.xz is unpacked), JSONL, Parquet and data sets of the Hugging Face hub, as
    `sterna.train.sources.source` names them; paths are relative to the TOML file."""

    train: list[str]
    valid: list[str]


@dataclass(frozen=True)
class TrainingSection:
    """How the model is trained: steps, schedule (`sterna.train.schedule`), optimizer, and how often what is done."""

    steps: int
    batch_size: int
    learning_rate: float
    embedding_learning_rate: float
    accumulation: int = 1
    """Into how many parts, one after the other, a batch is cut, to need less memory."""
    activation_checkpointing: bool = False
    """Whether the backward pass computes each layer's activations again, to need less memory."""
    optimizer: str = "adamw"
    schedule: str = "wsd"
    warmup_steps: int = 100
    decay_fraction: float | None = None
    """Of `wsd`; None: 0.2."""
    second_stage: float | None = None
    """The share of the steps after which the learning rate drops to `second_learning_rate` and weight decay ends."""
    second_learning_rate: float | None = None
    weight_decay: float = 0.1
    z_loss: float = 0.0
    gradient_clip: float = 1.0
    spike_sigmas: float = 6.0
    """A step is skipped whose loss or gradient norm is so many standard deviations above the mean; inf: none is."""
    most_skipped: int = 10
    """How many steps in a row may be skipped before the run stops."""
    seed: int = 0
    device: str = "cpu"
    triton: bool = False
    """Whether BitLinear is made of the Triton kernels (`sterna.train.kernels`)."""
    precision: str = "fp32"
    compile: bool = False
    eval_bytes: int = 100_000
    eval_steps: int = 500
    checkpoint_steps: int = 100
    log_steps: int = 20

    @property
    def decay_share(self) -> float:
        """The share of the steps that the linear decay of `wsd` takes."""
        return 0.2 if self.decay_fraction is None else self.decay_fraction

    def check(self) -> None:
        """Raises ArgumentError with one sentence for values that cannot be used."""
        for name, known in (("precision", PRECISIONS), ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
            names = [f'"{each}"' for each in known]
            listed = f"{', '.join(names[:-1])} or {names[-1]}"
            check((getattr(self, name) in known, f"training.{name} must be {listed}"))
        not_negative = ("warmup_steps", "weight_decay", "z_loss", "seed", "most_skipped")
        check(
            (self.steps >= 1 and self.batch_size >= 1, "training.steps and training.batch_size must be positive"),
            (
                self.accumulation >= 1 and self.batch_size % self.accumulation == 0,
                "training.batch_size must be a multiple of training.accumulation",
            ),
            (0.0 <= self.decay_share <= 1.0, "training.decay_fraction must lie in 0..1"),
            (
                self.decay_fraction is None or self.schedule == "wsd",
                'training.decay_fraction belongs to training.schedule = "wsd"',
            ),
            (
                all(0 < rate < math.inf for rate in self._learning_rates()),
                "learning rates must be positive and finite",
            ),
            (
                (self.second_stage is None) == (self.second_learning_rate is None),
                "training.second_stage and training.second_learning_rate belong together",
            ),
            (self.second_stage is None or 0 < self.second_stage < 1, "training.second_stage must lie between 0 and 1"),
            (
                min(self.eval_steps, self.checkpoint_steps, self.log_steps, self.eval_bytes) >= 1,
                "intervals of [training] must be positive",
            ),
            (
                all(0 <= getattr(self, key) < math.inf for key in not_negative),
                f"training.{', '.join(not_negative[:-1])} and {not_negative[-1]} must be finite and not negative",
            ),
            (self.gradient_clip > 0, "training.gradient_clip must be positive; inf clips nothing"),
            (self.spike_sigmas > 0, "training.spike_sigmas must be positive; inf skips no spike"),
        )

    def _learning_rates(self) -> list[float]:
        given = (self.learning_rate, self.embedding_learning_rate, self.second_learning_rate)
        return [rate for rate in given if rate is not None]


@dataclass(frozen=True)
class QuantizationSection:
    """How weights and activations are quantised: BitNet b1.58's way, unless a key says otherwise."""

    weights: str = "ternary"
    activations: str | None = None
    """None: `int8` where a matrix has one scale, else `float`."""
    group_size: int | None = None
    zero_share: float | None = None
    """Share of each group that is 0; None: what lies below half the group's mean magnitude."""
    embedding: bool = False
    """Whether the embedding is ternary too."""

    def quantization(self) -> Quantization:
        """The quantisers. Raises ArgumentError where the keys do not fit together."""
        if self.group_size is None and (self.zero_share is not None or self.embedding):
            raise ArgumentError("quantization.zero_share and embedding need a quantization.group_size.")
        exact = self.group_size is not None or self.weights == "float"
        activations = self.activations or ("float" if exact else "int8")
        try:
            return Quantization(self.weights, self._groups(), activations, self.embedding)
        except ValueError as error:
            raise ArgumentError(f"[quantization] cannot be used: {error}.") from error

    def _groups(self) -> GroupQuantizer | None:
        if self.group_size is None:
            return None
        if self.weights != "binary":
            return group_quantizer(self.group_size, self.zero_share)
        if self.zero_share:
            raise ValueError("binary weights have no share of zeros")
        return group_quantizer(self.group_size, 0.0)


@dataclass(frozen=True)
class WatchSection:
    """What is recorded of a run, beside its loss."""

    weights_steps: int = 100
    """How often the shares, flips and scales of quantised weights are counted."""
    prompts: list[str] = field(default_factory=lambda: [""])
    """What samples of text begin with; they are written where `valid` is scored."""
    sample_tokens: int = 40
    """The length of samples; 0: none are written."""
    tensorboard: bool = False

    def check(self) -> None:
        """Raises ArgumentError with one sentence for values that cannot be used."""
        check(
            (self.weights_steps >= 1, "watch.weights_steps must be positive"),
            (self.sample_tokens >= 0, "watch.sample_tokens must not be negative"),
        )


@dataclass(frozen=True)
class RunConfig:
    """A whole run: model, data, training options, and the folder for tokenizer, tokens, checkpoint and exports."""

    name: str
    output: str
    model: ModelSection
    data: DataSection
    training: TrainingSection
    quantization: QuantizationSection = field(default_factory=QuantizationSection)
    watch: WatchSection = field(default_factory=WatchSection)


def parse_config(table: dict[str, Any]) -> RunConfig:
    """A checked RunConfig from a parsed TOML table. Raises ArgumentError with one sentence."""
    config = section(table, RunConfig)
    model = config.model.model_config()
    quantization = config.quantization.quantization()
    size = config.quantization.group_size or 1
    inputs = {"model.hidden_size": model.hidden_size, "model.intermediate_size": model.intermediate_size}
    inputs["model.num_heads * head_dim"] = model.num_heads * model.head_dim
    check_name(config.name)
    check(
        *((width % size == 0, f"{key} must be a multiple of quantization.group_size") for key, width in inputs.items()),
        (
            not config.training.triton or quantization == Quantization(),
            "training.triton has kernels of ternary weights with one scale and int8 activations alone; leave out "
            "[quantization]",
        ),
        (
            quantization.activations != "a4.8" or model.architecture == "bitnet-b1.58",
            'quantization.activations = "a4.8" needs the relu² of model.architecture = "bitnet-b1.58"',
        ),
    )
    config.training.check()
    config.watch.check()
    return config


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads and checks a TOML file, with some keys replaced: `training.steps=100`, `model.hidden_size=256`.

    A file may name a `preset`; its own keys count before the preset's. A value of an override is TOML; a value that is
    not TOML is a string. Raises ArgumentError for a missing file, broken TOML, an unknown preset, wrong keys and an
    override without a key or a value.
    """
    table = read_table(path)
    for override in overrides:
        replace_key(table, override)
    preset = table.pop("preset", None)
    return parse_config(table if preset is None else merged(preset_table(preset), table))
