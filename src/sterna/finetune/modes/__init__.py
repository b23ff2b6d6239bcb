"""What a run does with its base: one file a mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sterna.finetune.inputs import Inputs
from sterna.finetune.modes.convert import Convert
from sterna.finetune.modes.distill import Distill
from sterna.finetune.modes.full import Full
from sterna.finetune.modes.lora import Lora

MODES: dict[str, Callable[[Inputs], Any]] = {"full": Full, "convert": Convert, "distill": Distill, "lora": Lora}
"""What makes a `sterna.finetune.modes.mode.Mode` of a run's inputs, by the mode's name."""
