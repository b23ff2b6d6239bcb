"""Checks a training run before it starts, and describes what it is going to do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sterna.checkpoint.state import QUANTIZATION, recorded_groups
from sterna.errors import ArgumentError
from sterna.files.sizes import readable
from sterna.train.bitlinear import BitLinear
from sterna.train.config import RunConfig, load_config
from sterna.train.corpus import document_parts
from sterna.train.data import TOKENS_FILE, corpus_inputs, is_kept
from sterna.train.evaluation import beginning
from sterna.train.model import Decoder
from sterna.train.state import CONFIG, changes, read_origin

STATE_FILE = "state.safetensors"
PYTORCH_BYTES = 300_000_000
"""Memory that the process takes once PyTorch is imported."""


@dataclass(frozen=True)
class Plan:
    """A checked config, what was found out about its inputs, and the step from which its run goes on."""

    config: RunConfig
    base: Path
    """The folder of the TOML file; the paths in it are relative to this folder."""
    device: torch.device
    inputs: dict[str, Any]
    """What `corpus_inputs` says about the training files."""
    valid_beginning: list[list[str]]
    """The beginning of the held-out texts, in parts, `training.eval_bytes` long; it is scored during the run."""
    step: int = 0
    """The step of the state in the output folder, 0 where there is none."""
    changes: Sequence[str] = ()
    """`section.key OLD -> NEW` for each key whose value differs from that of the run that saved the state."""

    @property
    def output(self) -> Path:
        return self.base / self.config.output

    @property
    def state(self) -> Path:
        return self.output / STATE_FILE

    @property
    def valid(self) -> list[Path]:
        return [self.base / name for name in self.config.data.valid]

    def origin(self, stamp: dict[str, object]) -> dict[str, object]:
        """What a state of this run records; `stamp` identifies its data."""
        quantization = recorded_groups(self.config.quantization.groups(), self.config.quantization.embedding)
        return {
            "model": asdict(self.config.model.model_config()),
            "data": stamp,
            QUANTIZATION: quantization,
            # A run may be moved to another output folder.
            CONFIG: asdict(self.config) | {"output": None, "quantization": quantization},
        }


def plan_training(config_path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Reads the config and checks what it names; writes nothing.

    Raises ArgumentError for a wrong config, files that cannot be read, an empty held-out text, a device that PyTorch
    cannot use and a batch larger than this machine's memory; FormatError for a state of another model or corpus.
    """
    config, base = load_config(config_path, overrides), config_path.parent
    inputs = corpus_inputs(base, config.data.train, config.model.vocab_size)
    valid = beginning(document_parts([base / name for name in config.data.valid]), config.training.eval_bytes)
    if not any(map(any, valid)):
        raise ArgumentError(f"data.valid has no text in its first {config.training.eval_bytes} bytes.")
    plan = Plan(config, base, torch_device(config.training.device), inputs, valid)
    _check_memory(config)
    if not plan.state.exists():
        return plan
    origin = plan.origin(inputs)
    saved = read_origin(plan.state, {key: origin[key] for key in ("model", "data")})
    changed = [
        f"{line} (its moments begin anew)" if line.startswith("training.optimizer ") else line
        for line in (changes(saved.config, origin[CONFIG]) if saved.config else ())
    ]
    return replace(plan, step=saved.step, changes=changed)


def new_decoder(config: RunConfig) -> Decoder:
    """The model of a run with its first weights."""
    return Decoder(config.model.model_config(), config.quantization.groups(), config.quantization.embedding)


def torch_device(name: str) -> torch.device:
    """The torch device `name`. Raises ArgumentError where it cannot hold a tensor."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ArgumentError(f"training.device is {name!r}, which PyTorch cannot use here.") from error
    return device


def describe(plan: Plan) -> list[str]:
    """Lines that describe a plan to people: model, data, steps, memory, output, and what changed."""
    config = plan.config
    training, model = config.training, config.model
    with torch.device("meta"):
        decoder = new_decoder(config)
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    ternary = sum(layer.weight.numel() for layer in decoder.modules() if isinstance(layer, BitLinear))
    total = ternary + (decoder.token_embd.weight.numel() if decoder.embedding_groups else 0)
    if is_kept(plan.output, plan.inputs):
        corpus = f"{(plan.output / TOKENS_FILE).stat().st_size // 2:,} tokens, made before"
    else:
        size = sum(size for _, size in plan.inputs["files"])
        corpus = f"{readable(size)} in {len(plan.inputs['files'])} file(s); its tokenizer and tokens are made first"
    tokens = training.batch_size * model.context_length
    begins = f"resumes after step {plan.step:,}" if plan.state.exists() else "begins anew"
    return [
        f"model:  {parameters:,} parameters, {total:,} of them ternary{_in_groups(config)}",
        f"data:   {corpus}",
        f"steps:  {training.steps:,} of {tokens:,} tokens, {training.steps * tokens:,} in all; {begins}",
        f"memory: about {readable(memory(config, parameters, ternary))} on {training.device}",
        f"output: {plan.output.resolve()}",
        *([f"changed since step {plan.step:,}: {', '.join(plan.changes)}"] if plan.changes else []),
    ]


def _in_groups(config: RunConfig) -> str:
    groups = config.quantization.groups()
    if groups is None:
        return ""
    zeros = "" if groups.zeros is None else f", {groups.zeros} of each 0"
    return f" in groups of {groups.group_size}{zeros}"


def memory(config: RunConfig, parameters: int, ternary: int) -> int:
    """About how many bytes a run takes at its peak: PyTorch itself, weights, gradients, moments, and the activations
    that a step keeps for its backward pass. Measured with four layers of 128 and three of 256: 5% and 8% off."""
    model, training = config.model, config.training
    moments = 2 * parameters - (ternary if training.optimizer == "muon" else 0)
    layer = 40 * model.hidden_size + 16 * model.intermediate_size
    step = training.batch_size * model.context_length * (model.num_layers * layer + 4 * model.vocab_size)
    return PYTORCH_BYTES + 4 * (2 * parameters + moments + step)


def _check_memory(config: RunConfig) -> None:
    """Raises ArgumentError where one batch's logits alone do not fit into the machine."""
    model, training = config.model, config.training
    least = training.batch_size * model.context_length * model.vocab_size * 4
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if training.device == "cpu" and least > total:
        raise ArgumentError(
            f"training.batch_size = {training.batch_size} needs more than {readable(least)} of memory with this "
            f"[model], and this machine has {readable(total)}; lower it."
        )
