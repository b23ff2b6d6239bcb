"""The training loop: prepares the data, trains, evaluates and exports."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sterna.errors import SternaError
from sterna.files.atomic import atomic_write
from sterna.train.config import RunConfig
from sterna.train.corpus import Report, document_parts
from sterna.train.data import prepare, random_windows
from sterna.train.evaluation import text_bits_per_byte
from sterna.train.export import export
from sterna.train.lock import locked
from sterna.train.loss import next_token_loss
from sterna.train.optimizer import make_optimizers, schedule, weight_decay
from sterna.train.plan import Plan, new_decoder, plan_training
from sterna.train.state import load_state, not_finite, save_state


class DivergedError(SternaError):
    """The loss, its gradients, the weights or the optimizers' state are no longer finite."""


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


def run_training(config_path: Path, report: Report = _to_stderr, overrides: Sequence[str] = ()) -> TrainingResult:
    """Trains as the TOML file says, from the run's checkpoint if there is one, then evaluates and exports.

    The output folder receives `tokenizer.json`, `train.bin` (tokens), `state.safetensors` (the checkpoint),
    `NAME.gguf`, `hf/` and `result.json`. `report` receives progress lines. `overrides` replace keys of the file
    (`training.steps=100`). On a CPU a resumed run equals the unbroken one bit for bit.
    Raises ArgumentError for a wrong config and files that cannot be read, FormatError for the checkpoint of another
    model or corpus, DivergedError for numbers that are not finite, UnsupportedError where another training runs in the
    output folder, SternaError where there is not enough memory.
    """
    plan = plan_training(config_path, overrides)
    with locked(plan.output), _memory_errors(plan.config):
        return _run(plan, report)


def _run(plan: Plan, report: Report) -> TrainingResult:
    config, training, output, device = plan.config, plan.config.training, plan.output, plan.device
    step = saved = plan.step
    if plan.changes:
        report(f"The config has changed since step {step}: {', '.join(plan.changes)}.")
    try:
        tokenizer, tokens, stamp = prepare(output, plan.base, config.data.train, config.model.vocab_size, report)
        context, origin = config.model.context_length, plan.origin(stamp)

        # Otherwise the embedding's gradient is summed in no fixed order, and compiled runs cannot be reproduced.
        torch.use_deterministic_algorithms(device.type == "cpu", warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.manual_seed(training.seed)
        model = new_decoder(config).to(device)
        optimizers = make_optimizers(model, training)
        if plan.state.exists():
            step = saved = load_state(plan.state, model, optimizers, origin)

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
                report(
                    f"step {step} loss {loss.item():.4f} norm {norm.item():.2f} lr {factor:.3f} tokens/s {speed:.0f}"
                )
            if (logs or saves) and not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
                what = f"At step {step} the loss is {loss.item()} and the norm of its gradients {norm.item()}"
                raise DivergedError(f"{what}; {_advice(saved)}")
            if saves:
                if name := not_finite(model, optimizers):
                    raise DivergedError(f"After step {step} {name} has numbers that are not finite; {_advice(saved)}")
                save_state(plan.state, model, optimizers, step, origin)
                saved = step
            if step % training.eval_steps == 0:
                valid = text_bits_per_byte(model, tokenizer, plan.valid_beginning, context)
                report(f"step {step} valid {valid:.4f} bits per byte")

        result = TrainingResult(
            steps=step,
            tokens=step * training.batch_size * context,
            bits_per_byte=text_bits_per_byte(model, tokenizer, document_parts(plan.valid), context),
            gguf=output / f"{config.name}.gguf",
            hf=output / "hf",
        )
        export(plan.state, result.gguf, result.hf, config.name, model)
        with atomic_write(output / "result.json") as file:
            file.write(json.dumps(asdict(result), default=str, indent=1).encode())
    except KeyboardInterrupt:
        report(f"Stopped at step {step}; the same command {_goes_on(saved)}.")
        raise
    report(f"{result.bits_per_byte:.4f} bits per byte on the held-out text; wrote {result.gguf} and {result.hf}")
    return result


def _goes_on(saved: int) -> str:
    return f"goes on from step {saved}" if saved else "begins again"


def _advice(saved: int) -> str:
    """What to do about a run that diverged."""
    then = (
        f": the same command then {_goes_on(saved)}, the last step that was saved."
        if saved
        else ", and start it again."
    )
    return f"lower training.learning_rate and training.embedding_learning_rate{then}"


@contextmanager
def _memory_errors(config: RunConfig) -> Iterator[None]:
    """Turns errors for lack of memory into one that names the keys to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # PyTorch's CPU allocator raises a plain RuntimeError.
        if not isinstance(error, MemoryError) and not re.search("(allocate|enough|out of) memory", str(error)):
            raise
        raise SternaError(
            f"There is not enough memory for training.batch_size = {config.training.batch_size} windows of "
            f"model.context_length = {config.model.context_length} tokens with this [model]; lower them."
        ) from error
