"""The shape of a model that is named by its size: a published one, or one scaled from the nearest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from sterna.bench.synthetic import SHAPES, Shape, config_of
from sterna.errors import ArgumentError
from sterna.model.config import ModelConfig
from sterna.model.validate import check_config, tensor_shapes

PUBLISHED: dict[str, Shape] = {
    # BitNet b1.58 (arXiv 2402.17764) in the shapes of LLaMA, without grouped heads; vocabulary of 1bitLLM's files.
    "700M": SHAPES["700M"],
    "1.3B": Shape("bitnet", 2048, 5460, 24, 32, 32, 32002),
    "2B4T": SHAPES["2B4T"],
    "3B": SHAPES["3B"],
    "7B": Shape("bitnet", 4096, 11008, 32, 32, 32, 32002),
    "8B": SHAPES["8B"],
    "13B": Shape("bitnet", 5120, 13824, 40, 40, 40, 32002),
    "70B": Shape("bitnet", 8192, 22016, 80, 64, 64, 32002),
    # The random model that bitnet.cpp times as "100B" (its utils/generate-dummy-bitnet-model.py).
    "100B": Shape("bitnet", 8192, 45568, 72, 64, 64, 32002),
}
WIDTH_STEP = 256
"""Widths of scaled shapes are multiples of this, which fill the blocks of every encoding."""
UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True)
class Sized:
    """A configuration, and where it comes from in words."""

    name: str
    config: ModelConfig
    source: str
    has_rotations: bool = False
    """Whether matrices multiply rotated activations: Hadamard transforms (Bonsai 2), or rotations of pairs (ParoQuant).
    """


def sized(text: str) -> Sized:
    """The shape for `--params`: a name of `PUBLISHED` or of a synthetic shape, or a number such as `34B`.

    A number that no published shape has takes the nearest one, with width and depth scaled alike by the cube root of
    the ratio. Raises `ArgumentError` for anything else.
    """
    known = {name.lower(): (name, shape) for name, shape in (SHAPES | PUBLISHED).items()}
    if text.lower() in known:
        name, shape = known[text.lower()]
        return Sized(name, config_of(shape), f"the published shape {name}", shape.rotated is not None)
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([KMBT])", text, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise ArgumentError(
            f"--params is a number of parameters such as 7B, or one of {', '.join(SHAPES | PUBLISHED)}, not '{text}'."
        )
    wanted = float(found[1]) * UNITS[found[2].upper()]
    nearest = min(PUBLISHED, key=lambda name: abs(math.log(parameters(config_of(PUBLISHED[name])) / wanted)))
    config = _scaled(PUBLISHED[nearest], wanted)
    check_config(config)
    return Sized(text, config, f"assumed: {nearest} scaled to {parameters(config) / 1e9:.3g} B parameters")


def parameters(config: ModelConfig) -> int:
    """How many parameters a model has."""
    return sum(math.prod(shape) for shape in tensor_shapes(config).values())


def _scaled(shape: Shape, wanted: float) -> ModelConfig:
    """A shape with about so many parameters, heads of the same size as the one it is made from."""
    factor = (wanted / parameters(config_of(shape))) ** (1 / 3)
    head = shape.head_dim or shape.hidden_size // shape.num_heads
    step = math.lcm(WIDTH_STEP, head)
    hidden = max(1, round(shape.hidden_size * factor / step)) * step
    groups = shape.num_heads // shape.num_kv_heads
    heads = hidden // head
    return config_of(
        replace(
            shape,
            hidden_size=hidden,
            intermediate_size=max(1, round(shape.intermediate_size * factor / WIDTH_STEP)) * WIDTH_STEP,
            num_layers=max(1, round(shape.num_layers * factor)),
            num_heads=heads,
            num_kv_heads=heads // groups if heads % groups == 0 else heads,
        )
    )
