"""`[lora]` of a config: which matrices get an adapter, and of what rank and scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt

import numpy as np

from sterna.checkpoint.adapters import LowRank
from sterna.checkpoint.adapters.adapter import HEAD
from sterna.checkpoint.adapters.patterns import Pattern
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.model.architecture import MATRICES
from sterna.model.architectures import architecture_of
from sterna.model.config import ModelConfig

MAX_RANK = 4096


@dataclass(frozen=True)
class Site:
    """A matrix that gets an adapter: its canonical name, shape, rank and scale."""

    name: str
    out_features: int
    in_features: int
    rank: int
    scale: float

    @property
    def parameters(self) -> int:
        return self.rank * (self.out_features + self.in_features)


@dataclass(frozen=True)
class LoraSection:
    """The adapter that is trained, in the terms of PEFT.

    `targets`: `all`, which is every matrix of the layers, or names of matrices, canonical (`attn_q`) or a folder's
    (`q_proj`, `self_attn.q_proj`), or `output` (`lm_head`). `layers`: the layers that get an adapter; none named: all.
    `rank_pattern` and `alpha_pattern` give matrices whose names end so, or match a regular expression, numbers of their
    own. `init`: the folder or file of an adapter to begin with, whose ranks and scales then count.
    """

    r: int = 16
    alpha: float = 32.0
    targets: list[str] = field(default_factory=lambda: ["all"])
    layers: list[int] = field(default_factory=list)
    rslora: bool = False
    dropout: float = 0.0
    rank_pattern: dict[str, int] = field(default_factory=dict)
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    init: str = ""
    dora: bool = False

    def check(self) -> None:
        """Raises ArgumentError for numbers that cannot be, UnsupportedError for DoRA."""
        if self.dora:
            raise UnsupportedError("lora.dora: Sterna does not train DoRA, whose merged matrix has norms of its own.")
        for rank in (self.r, *self.rank_pattern.values()):
            if not 1 <= rank <= MAX_RANK:
                raise ArgumentError(f"lora.r and lora.rank_pattern are from 1 to {MAX_RANK}, not {rank}.")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not isfinite(alpha) or alpha <= 0:
                raise ArgumentError(f"lora.alpha and lora.alpha_pattern are positive numbers, not {alpha}.")
        if not 0 <= self.dropout < 1:
            raise ArgumentError(f"lora.dropout is from 0 to below 1, not {self.dropout}.")

    def sites(self, config: ModelConfig) -> list[Site]:
        """The matrices of a model that get an adapter. Raises ArgumentError for targets and layers that the model does
        not have, and for patterns that are none."""
        self.check()
        strange = [layer for layer in self.layers if not 0 <= layer < config.num_layers]
        if strange:
            raise ArgumentError(f"lora.layers names the layer {strange[0]}; the model has {config.num_layers}.")
        try:
            ranks = Pattern({"rank_pattern": self.rank_pattern}, "rank_pattern", self.r)
            alphas = Pattern({"alpha_pattern": self.alpha_pattern}, "alpha_pattern", self.alpha)
        except (FormatError, UnsupportedError) as error:
            raise ArgumentError(f"lora: {error}") from error
        found, used = [], set()
        for name, (module, shape) in _matrices(config).items():
            fitting = {target for target in self.targets if _fits(target, name, module)}
            used |= fitting
            if fitting and (not self.layers or _layer(name) in (None, *self.layers)):
                rank = int(ranks.of(module))
                scale = alphas.of(module) / (sqrt(rank) if self.rslora else rank)
                found.append(Site(name, shape[0], shape[1], rank, scale))
        unused = [target for target in self.targets if target not in used]
        if unused:
            raise ArgumentError(f"lora.targets names {unused[0]!r}; choose all, output, {', '.join(MATRICES)}.")
        return found


def new_updates(sites: list[Site], seed: int) -> dict[str, LowRank]:
    """A uniform within ±1/√in, B = 0, as PEFT begins (`kaiming_uniform_` with a = √5): no bit of the model changes."""
    rng = np.random.default_rng(seed)
    updates = {}
    for site in sites:
        bound = site.in_features**-0.5
        a = rng.uniform(-bound, bound, (site.rank, site.in_features)).astype(np.float32)
        updates[site.name] = LowRank(a, np.zeros((site.out_features, site.rank), np.float32), site.scale)
    return updates


def _matrices(config: ModelConfig) -> Mapping[str, tuple[str, tuple[int, ...]]]:
    """The name in folders and the shape of every matrix that may get an adapter, by canonical name."""
    architecture = architecture_of(config)
    folders = architecture.hf_names(config.num_layers)
    shapes = {
        f"blk.{layer}.{name}": shape
        for layer in range(config.num_layers)
        for name, shape in architecture.layer_shapes(config, layer).items()
        if name.removesuffix(".weight") in MATRICES
    }
    shapes[HEAD] = config.vocab_size, config.hidden_size
    return {name: (folders[name][0].removesuffix(".weight"), shape) for name, shape in shapes.items()}


def _fits(target: str, name: str, module: str) -> bool:
    if target == "all":
        return name != HEAD
    return any(f".{known}".endswith(f".{target}") for known in (name.removesuffix(".weight"), module))


def _layer(name: str) -> int | None:
    return int(name.split(".")[1]) if name.startswith("blk.") else None
