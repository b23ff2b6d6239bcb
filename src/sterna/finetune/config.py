"""The TOML file that describes a fine-tuning run, as dataclasses: every key is checked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sterna.checkpoint.adapters.convert import MERGED
from sterna.checkpoint.convert import TYPES
from sterna.finetune.data.formats import FORMATS
from sterna.finetune.lora.section import LoraSection
from sterna.finetune.warmup import SCHEDULES
from sterna.ternary.groups import GROUP_SIZES, group_quantizer
from sterna.ternary.quantization import Quantization
from sterna.train.config import TrainingSection, WatchSection
from sterna.train.toml import check, check_name, read_table, replace_key, section

SECTIONS = {"full": (), "convert": ("convert",), "distill": ("convert", "distill"), "lora": ("lora",)}
"""The modes, and the sections that belong to each."""
SPLITS = ("train", "valid")
NORMS = ("none", "sub", "all")
INITIALISATIONS = ("absmean", "least-squares")
MERGES = ("none", "float", "qat")


@dataclass(frozen=True)
class SourceSection:
    """One source of examples: a file of JSON lines, a JSON list, a Parquet file or a data set of the hub (`hf:NAME`),
    as `sterna.train.sources.Rows` reads them; paths are relative to the TOML file."""

    path: str
    format: str = "messages"
    """A key of `sterna.finetune.data.formats.FORMATS`."""
    split: str = "train"
    """`valid`: the examples are held out."""
    weight: float = 1.0
    """How often an epoch has each example; of a fraction, so many examples drawn anew for each epoch."""


@dataclass(frozen=True)
class FineTuningSection(TrainingSection):
    """How the model is trained: what `TrainingSection` has, where a batch is of rows of up to `context` tokens."""

    context: int = 512
    """Most tokens of an example, and of a packed row."""
    packing: bool = True
    """Whether a row holds several examples, as many as fit; attention stays inside of each."""


@dataclass(frozen=True)
class ConvertSection:
    """How a full-precision model becomes ternary (`sterna.finetune.warmup`)."""

    schedule: str = field(default="linear", metadata={"key": "lambda"})
    """How λ, the share of quantisation, rises: a key of `sterna.finetune.warmup.SCHEDULES`."""
    lambda_steps: int | None = None
    """The steps after which λ is 1; None: half of all steps."""
    lambda_k: float | None = None
    """The steepness of `exponential` and `sigmoid`; None: 8 and 100."""
    norms: str = "none"
    """Where RMSNorms are inserted: before both output projections (`sub`) or before every matrix (`all`)."""
    init: str = "absmean"
    """`least-squares`: matrices are scaled first, so that their scale is the best one for their codes."""
    group_size: int | None = None
    """64 or 128 columns that share a scale; None: a matrix has one."""
    keep: list[str] = field(default_factory=lambda: ["lm_head"])
    """The matrices that stay in full precision (`sterna.finetune.matrices`); the head always does."""
    layers: list[int] = field(default_factory=list)
    """The layers that are converted; none named: all."""

    def quantization(self) -> Quantization:
        """What the model is quantised as at λ = 1."""
        if self.group_size is None:
            return Quantization()
        return Quantization(groups=group_quantizer(self.group_size), activations="float")

    def check(self) -> None:
        """Raises ArgumentError with one sentence for values that cannot be used."""
        check(
            (self.schedule in SCHEDULES, f"convert.lambda must be one of {', '.join(SCHEDULES)}"),
            (self.lambda_steps is None or self.lambda_steps >= 1, "convert.lambda_steps must be positive"),
            (self.lambda_k is None or 0 < self.lambda_k <= 1000, "convert.lambda_k must be positive, and 1000 at most"),
            (self.norms in NORMS, f"convert.norms must be one of {', '.join(NORMS)}"),
            (self.init in INITIALISATIONS, f"convert.init must be one of {', '.join(INITIALISATIONS)}"),
            (self.group_size in (None, *GROUP_SIZES), "convert.group_size must be 64 or 128"),
            (
                self.init == "absmean" or self.group_size is None,
                'convert.init = "least-squares" is for matrices of one scale, without convert.group_size',
            ),
        )


@dataclass(frozen=True)
class DistillSection:
    """What the student learns from its teacher (BitDistill, arXiv 2510.13998), beside the answers."""

    teacher: str | None = None
    """A model, named as `base` is; None: the base itself."""
    tau: float = 5.0
    """The temperature of both models' logits."""
    logits: float = 1.0
    """The weight of the divergence of the logits, which includes tau²."""
    relations: float | None = None
    """The weight of the divergence of relations in attention; None: one that makes it as large as the loss of answers
    when the run begins."""
    layer: int = -8
    """The layer whose relations are compared; negative numbers count from the end."""
    split_heads: int = 32
    """Into how many parts q, k and v are cut."""

    def check(self) -> None:
        """Raises ArgumentError with one sentence for values that cannot be used."""
        check(
            (0 < self.tau < math.inf, "distill.tau must be positive and finite"),
            (
                all(0 <= weight < math.inf for weight in (self.logits, self.relations or 0.0)),
                "distill.logits and distill.relations must be finite and not negative",
            ),
            (self.split_heads >= 1, "distill.split_heads must be positive"),
        )


@dataclass(frozen=True)
class ExportSection:
    """What is written at the end of a run, beside its state."""

    gguf: str | None = None
    """The encoding of the matrices in the GGUF file, as `sterna convert --type` has it; None: as they were trained."""
    hf: bool = True
    """Whether a Hugging Face folder is written, too."""
    merge: str = "none"
    """What is written beside an adapter: with `float` a model to which it is added, dense and in `gguf` (F16 by
    default); with `qat` one whose ternary weights are trained on after it was added to them."""
    merge_steps: int | None = None
    """The steps of that training; None: as many as the adapter's."""

    def check(self, mode: str) -> None:
        """Raises ArgumentError with one sentence for exports that a run of this mode does not have: what is found at
        its end would be found too late."""
        merged = " where an adapter is merged in float" if self.merge == "float" else ""
        types = [encoding.value for encoding in (MERGED if self.merge == "float" else TYPES)]
        check(
            (self.merge in MERGES, f"export.merge must be one of {', '.join(MERGES)}"),
            (self.merge == "none" or mode == "lora", 'export.merge is for mode = "lora"'),
            (
                self.merge_steps is None or self.merge == "qat" and self.merge_steps >= 1,
                'export.merge_steps must be positive, and is for export.merge = "qat"',
            ),
            (
                self.gguf is None or mode != "lora" or self.merge != "none",
                'export.gguf is the encoding of a model; with mode = "lora" it needs export.merge = "float" or "qat"',
            ),
            (
                self.gguf is None or self.gguf.lower() in types,
                f"export.gguf must be one of {', '.join(types)}{merged}",
            ),
        )


@dataclass(frozen=True)
class FineTuneConfig:
    """A whole run: the model that it begins with, its data, and how it is trained and exported."""

    name: str
    mode: str
    base: str
    """A folder, a GGUF file or a name that `sterna pull` knows; a path is relative to the TOML file."""
    output: str
    data: list[SourceSection]
    training: FineTuningSection
    convert: ConvertSection = field(default_factory=ConvertSection)
    distill: DistillSection = field(default_factory=DistillSection)
    lora: LoraSection = field(default_factory=LoraSection)
    export: ExportSection = field(default_factory=ExportSection)
    watch: WatchSection = field(default_factory=lambda: WatchSection(prompts=[]))


def parse_config(table: dict[str, Any]) -> FineTuneConfig:
    """A checked FineTuneConfig from a parsed TOML table. Raises ArgumentError with one sentence."""
    training = table.get("training")
    if isinstance(training, dict):
        training = _with_defaults(training)
        if "convert" in SECTIONS.get(str(table.get("mode")), ()):
            training.setdefault("spike_sigmas", math.inf)  # the loss rises with λ, and that is no fault
    config = section({**table, "training": training} if training is not None else table, FineTuneConfig)
    check((config.mode in SECTIONS, f"mode must be one of {', '.join(SECTIONS)}"))
    for name in ("convert", "distill", "lora"):
        belongs = name in SECTIONS[config.mode]
        check((belongs or name not in table, f'[{name}] does not belong to mode = "{config.mode}"'))
    check_name(config.name)
    check(
        (any(source.split == "train" for source in config.data), 'no source of [[data]] has split = "train"'),
        (config.training.context >= 2, "training.context must be at least 2"),
        (not config.training.compile, "training.compile is not for fine-tuning, whose rows have many lengths"),
        (not config.training.triton, "training.triton is for sterna train alone"),
    )
    for source in config.data:
        check(
            (source.format in FORMATS, f"data.format must be one of {', '.join(FORMATS)}"),
            (source.split in SPLITS, f"data.split must be {' or '.join(SPLITS)}"),
            (0 < source.weight <= 1000, "data.weight must be positive, and 1000 at most"),
        )
    config.export.check(config.mode)
    for part in (config.training, config.convert, config.distill, config.lora, config.watch):
        part.check()
    return config


def _with_defaults(training: dict[str, Any]) -> dict[str, Any]:
    """The table [training] with what follows from its other keys: embedding and norms learn as fast as matrices, and
    `tokens_per_step` are as many rows of `context` tokens."""
    training = dict(training)
    if "learning_rate" in training:
        training.setdefault("embedding_learning_rate", training["learning_rate"])
    tokens, context = training.pop("tokens_per_step", None), training.get("context", FineTuningSection.context)
    if tokens is not None:
        check(
            ("batch_size" not in training, "training.batch_size and training.tokens_per_step exclude each other"),
            (
                type(tokens) is int and type(context) is int and 0 < context <= tokens,
                "training.tokens_per_step must be a number of tokens, training.context at least",
            ),
        )
        training["batch_size"] = tokens // context
    return training


def load_config(path: Path, overrides: Sequence[str] = ()) -> FineTuneConfig:
    """Reads and checks a TOML file, with some keys replaced, as `sterna.train.config.load_config` does.

    Raises ArgumentError for a missing file, broken TOML, wrong keys and an override without a key or a value.
    """
    table = read_table(path)
    for override in overrides:
        replace_key(table, override)
    return parse_config(table)
