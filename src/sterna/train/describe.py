"""Describes what a training run is going to do: `sterna train --dry-run`."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from sterna.errors import SternaError
from sterna.files.sizes import readable
from sterna.ternary.quantization import Quantization
from sterna.train.bitlinear import BitLinear
from sterna.train.config import RunConfig, TrainingSection
from sterna.train.data import TOKENS_FILE, is_kept
from sterna.train.model import Decoder
from sterna.train.plan import Plan, new_decoder
from sterna.train.watch.lines import duration
from sterna.train.watch.machine import flops_per_token, peak_flops
from sterna.train.watch.records import RECORDS_FILE, read_records

PYTORCH_BYTES = 300_000_000
"""Memory that the process takes once PyTorch is imported."""
STATES_KEPT = 3
"""The last state, the one before it, and the next while it is written."""
USUAL_SHARE = 0.25
"""The share of the machine's peak at which a run's time is estimated before it has a log: about what small models
reach (docs/training.md, Watching)."""


def describe(plan: Plan) -> list[str]:
    """Lines that describe a plan to people: model, data, steps, memory, disk, time, output, and what to know."""
    config = plan.config
    training, model = config.training, config.model
    with torch.device("meta"):
        decoder = new_decoder(config)
    parameters = sum(parameter.numel() for parameter in decoder.parameters())
    matrices = sum(layer.weight.numel() for layer in decoder.modules() if isinstance(layer, BitLinear))
    tokens = training.batch_size * model.context_length
    begins = "begins anew" if plan.found is None else f"resumes after step {plan.step:,}"
    states = STATES_KEPT * 4 * (parameters + moments(training, parameters, matrices))
    kind = quantised(config.quantization.quantization(), decoder, matrices)
    free = shutil.disk_usage(next(folder for folder in (plan.output, *plan.output.parents) if folder.exists())).free
    return [
        f"model:  {model.architecture}, {parameters:,} parameters, {kind}",
        f"data:   {_corpus(plan)}",
        f"steps:  {training.steps:,} of {tokens:,} tokens, {training.steps * tokens:,} in all; {begins}",
        f"memory: about {readable(memory(config, parameters, matrices))} on {training.device}",
        f"disk:   about {readable(states)} for states, {readable(free)} free",
        f"time:   {_time(plan, (training.steps - plan.step) * tokens)}",
        f"output: {plan.output.resolve()}",
        *plan.notes,
    ]


def quantised(quantization: Quantization, decoder: Decoder, matrices: int) -> str:
    """What is quantised, and how; `matrices`: how many weights all matrices of layers have."""
    if quantization.weights == "float":
        return "none of them quantised"
    tables = (decoder.get_parameter(name).numel() for name in decoder.ternary_tables())
    kept = (decoder.get_parameter(name).numel() for name in quantization.kept)
    kind, groups = quantization.weights, quantization.groups
    text = f"{matrices - sum(kept) + sum(tables):,} of them {kind}"
    if groups is not None:
        text += f" in groups of {groups.group_size}"
        text += "" if groups.zeros is None else f", {groups.zeros} of each 0"
    return text + f"; activations {quantization.activations}"


def _corpus(plan: Plan) -> str:
    if is_kept(plan.output, plan.inputs):
        return f"{(plan.output / TOKENS_FILE).stat().st_size // 2:,} tokens, made before"
    size = sum(size for _, size in plan.inputs["files"])
    return f"{readable(size)} in {len(plan.inputs['files'])} file(s); its tokenizer and tokens are made first"


def moments(training: TrainingSection, parameters: int, matrices: int) -> int:
    """How many numbers the optimizers keep: two for each parameter, one for each that has Muon."""
    return 2 * parameters - (matrices if training.optimizer == "muon" else 0)


def memory(config: RunConfig, parameters: int, matrices: int) -> int:
    """About how many bytes a run takes at its peak: PyTorch itself, weights, gradients, moments, and the activations
    that a step keeps for its backward pass. Measured with four layers of 128 and three of 256: 5% and 8% off."""
    model, training = config.model, config.training
    layer = layer_floats(model.hidden_size, model.intermediate_size)
    windows = training.batch_size // training.accumulation
    step = windows * model.context_length * (model.num_layers * layer + 4 * model.vocab_size)
    return PYTORCH_BYTES + 4 * (2 * parameters + moments(training, parameters, matrices) + step)


def layer_floats(hidden_size: int, intermediate_size: int) -> int:
    """About how many floats a layer keeps of each token for the backward pass."""
    return 40 * hidden_size + 16 * intermediate_size


def _time(plan: Plan, tokens: int) -> str:
    """How long so many tokens take: at the speed of the run so far, else at a usual share of the machine's peak."""
    speed = last_speed(plan.output)
    if speed is not None:
        return f"about {duration(tokens / speed)} at the last {speed:,.0f} tokens/s of its log"
    peak = peak_flops(plan.device, plan.config.training.precision)
    speed = USUAL_SHARE * peak / flops_per_token(plan.config.model.model_config())
    return (
        f"very roughly {duration(tokens / speed)}, if it makes {speed:,.0f} tokens/s, {USUAL_SHARE:.0%} of the "
        f"{peak / 1e9:,.0f} GFLOP/s at which this machine multiplies now"
    )


def last_speed(folder: Path) -> float | None:
    """The last speed in a run's log, tokens a second."""
    try:
        records = read_records(folder / RECORDS_FILE)
    except SternaError:
        return None
    speeds = [record.get("tokens_per_second") for record in records if record["kind"] == "step"]
    return speeds[-1] if speeds and isinstance(speeds[-1], float) and speeds[-1] > 0 else None
