"""`[lora]` of a config: which matrices get an adapter, and of what rank and scale."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, sqrt

import numpy as np

from sterna.checkpoint.adapters import LowRank
from sterna.checkpoint.adapters.patterns import Pattern
from sterna.errors import ArgumentError, FormatError, UnsupportedError
from sterna.finetune.matrices import check_names, matrices_of
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
        check_names(config, "lora.targets", self.targets, "lora.layers", self.layers)
        try:
            ranks = Pattern({"rank_pattern": self.rank_pattern}, "rank_pattern", self.r)
            alphas = Pattern({"alpha_pattern": self.alpha_pattern}, "alpha_pattern", self.alpha)
        except (FormatError, UnsupportedError) as error:
            raise ArgumentError(f"lora: {error}") from error
        found = []
        for matrix in matrices_of(config):
            is_target = any(matrix.is_called(target) for target in self.targets)
            if is_target and (not self.layers or matrix.layer in (None, *self.layers)):
                rank = int(ranks.of(matrix.module))
                scale = alphas.of(matrix.module) / (sqrt(rank) if self.rslora else rank)
                found.append(Site(matrix.name, matrix.shape[0], matrix.shape[1], rank, scale))
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
