"""The training loop: prepares the data, trains, evaluates and exports."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sterna.checkpoint.convert import convert
from sterna.errors import ArgumentError, SternaError
from sterna.files.atomic import atomic_write
from sterna.train.config import load_config
from sterna.train.data import documents, prepare, random_windows
from sterna.train.evaluation import beginning, text_bits_per_byte
from sterna.train.loss import next_token_loss
from sterna.train.model import Decoder
from sterna.train.optimizer import make_optimizers, schedule, weight_decay
from sterna.train.state import load_state, save_state

STATE_FILE = "state.safetensors"


class DivergedError(SternaError):
    """The loss or its gradients are no longer finite."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run reached on the whole held-out text, and the paths of its exports."""

    steps: int
    tokens: int
    bits_per_byte: float
    gguf: Path
    hf: Path


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _device(name: str) -> torch.device:
    """The torch device `name`. Raises ArgumentError where it cannot hold a tensor."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ArgumentError(f"training.device is {name!r}, which PyTorch cannot use here.") from error
    return device


def run_training(config_path: Path, report: Callable[[str], None] = _to_stderr) -> TrainingResult:
    """Trains as the TOML file says, from the run's checkpoint if there is one, then evaluates and exports.

    The output folder receives `tokenizer.json`, `train.bin` (tokens), `state.safetensors` (the checkpoint),
    `NAME.gguf`, `hf/` and `result.json`. `report` receives progress lines. On a CPU a resumed run equals the unbroken
    one bit for bit.
    Raises ArgumentError for a wrong config and files that cannot be read, FormatError for the checkpoint of another
    model or corpus, DivergedError for a loss or gradients that are not finite.
    """
    config = load_config(config_path)
    training, base = config.training, config_path.parent
    output = base / config.output
    device = _device(training.device)
    held_out = list(documents([base / path for path in config.data.valid]))
    valid = beginning(held_out, training.eval_bytes)
    if not any(valid):
        raise ArgumentError(f"data.valid has no text in its first {training.eval_bytes} bytes.")
    tokenizer, tokens, stamp = prepare(output, base, config.data.train, config.model.vocab_size)
    context, origin = config.model.context_length, {"model": asdict(config.model.model_config()), "data": stamp}

    # Otherwise the embedding's gradient is summed in no fixed order, and compiled runs cannot be reproduced.
    torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(training.seed)
    model = Decoder(config.model.model_config()).to(device)
    optimizers = make_optimizers(model, training)
    state = output / STATE_FILE
    step = load_state(state, model, optimizers, origin) if state.exists() else 0

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(batch.device.type, torch.bfloat16, enabled=training.precision == "bf16"):
            logits = model(batch[:, :-1])
        return next_token_loss(logits, batch[:, 1:], training.z_loss)

    step_loss = torch.compile(loss_of) if training.compile else loss_of
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(f"{parameters:,} parameters, {len(tokens):,} training tokens, step {step} of {training.steps}")
    begun, first_step = time.monotonic(), step
    while step < training.steps:
        factor = schedule(step, training)
        batch = torch.from_numpy(random_windows(tokens, training.seed, step, training.batch_size, context))
        loss = step_loss(batch.to(device))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
        optimizers.step(factor, weight_decay(step, training))
        step += 1
        logs = step % training.log_steps == 0
        saves = step % training.checkpoint_steps == 0 or step == training.steps
        if logs:
            speed = (step - first_step) * training.batch_size * context / (time.monotonic() - begun)
            report(f"step {step} loss {loss.item():.4f} norm {norm.item():.2f} lr {factor:.3f} tokens/s {speed:.0f}")
        if (logs or saves) and not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise DivergedError(
                f"At step {step} the loss is {loss.item()} and the norm of its gradients {norm.item()}; "
                "lower training.learning_rate."
            )
        if saves:
            save_state(state, model, optimizers, step, origin)
        if step % training.eval_steps == 0:
            report(f"step {step} valid {text_bits_per_byte(model, tokenizer, valid, context):.4f} bits per byte")

    result = TrainingResult(
        steps=step,
        tokens=step * training.batch_size * context,
        bits_per_byte=text_bits_per_byte(model, tokenizer, held_out, context),
        gguf=output / f"{config.name}.gguf",
        hf=output / "hf",
    )
    for path in (result.gguf, result.hf):
        convert(state, path, name=config.name, force=True)
    with atomic_write(output / "result.json") as file:
        file.write(json.dumps(asdict(result), default=str, indent=1).encode())
    report(f"{result.bits_per_byte:.4f} bits per byte on the held-out text; wrote {result.gguf} and {result.hf}")
    return result
