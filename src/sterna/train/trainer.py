"""A run of `sterna train`: prepares the data, trains, evaluates and exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sterna.train.allocator import keep_freed_memory
from sterna.train.config import RunConfig
from sterna.train.corpus import Report
from sterna.train.data import prepare
from sterna.train.distributed import first_before_others, process_rank, shard
from sterna.train.export import export
from sterna.train.loop import DivergedError, Position, Run
from sterna.train.optimizer import make_optimizers
from sterna.train.plan import Plan, new_decoder, plan_training
from sterna.train.pretraining import Pretraining
from sterna.train.running import alone, memory_errors, reproducible, sinks, to_stderr, told, write_result
from sterna.train.watch.machine import flops_per_token, peak_flops
from sterna.train.watch.records import Sink
from sterna.train.watch.watch import Watch

__all__ = ["DivergedError", "TrainingResult", "run_training"]


@dataclass(frozen=True)
class TrainingResult:
    """What a run reached on the whole held-out text, and the paths of its exports; None for a form that cannot hold
    the model."""

    steps: int
    tokens: int
    bits_per_byte: float
    gguf: Path | None
    hf: Path | None


def run_training(
    config_path: Path, report: Report = to_stderr, overrides: Sequence[str] = (), live: Sink | None = None
) -> TrainingResult:
    """Trains as the TOML file says, from the run's checkpoint if there is one, then evaluates and exports.

    The output folder receives `tokenizer.json`, `train.bin` (tokens), `state.safetensors` (the checkpoint, and with
    `state.previous.safetensors` the one before it; of several processes also folders `state.step-N`), `log.jsonl`
    (`sterna.train.watch.records`), `NAME.gguf`, `hf/` and `result.json`. `report` receives progress lines, `live` a
    record of kind `step` after every step. `overrides` replace keys of the file (`training.steps=100`). On a CPU a
    resumed run equals the unbroken one bit for bit.
    Raises ArgumentError for a wrong config and files that cannot be read, FormatError for the checkpoint of another
    model or corpus, DivergedError for numbers that are not finite, UnsupportedError where another training runs in the
    output folder, SternaError where there is not enough memory.
    """
    checked = plan_training(config_path, overrides)
    with alone(checked.output, checked.device):
        plan = checked.continued()
        position = Position(plan.step, plan.step)
        if process_rank() > 0:
            report, live = (lambda line: None), None
        with memory_errors(_too_large(plan.config)), told(position, report):
            return _run(plan, position, report, live)


def _run(plan: Plan, position: Position, report: Report, live: Sink | None) -> TrainingResult:
    config, training, output, device = plan.config, plan.config.training, plan.output, plan.device
    keep_freed_memory()
    for sentence in plan.notes:
        report(sentence)
    with first_before_others():
        tokenizer, tokens, stamp = prepare(output, plan.base, config.data.train, config.model.vocab_size, report)
    origin = plan.origin(stamp)

    reproducible(device, training.seed)
    model = new_decoder(config).to(device)
    model.checkpoints_layers = training.activation_checkpointing
    shard(model, model.blk)
    optimizers = make_optimizers(model, training)
    guard = {} if plan.found is None else plan.checkpoints.resume(plan.found, model, optimizers, origin)
    task = Pretraining(config, model, tokenizer, tokens, plan.valid_beginning)
    run = Run(task, optimizers, training, plan.checkpoints, origin, position, guard)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(f"{parameters:,} parameters, {len(tokens):,} training tokens, step {plan.step} of {training.steps}")
    with sinks(plan.output, plan.step, config.watch.tensorboard, report) as receivers:
        peak = peak_flops(device, training.precision) / flops_per_token(model.config)
        run.train(Watch(model, training, config.watch, task.tokens, peak, plan.step, receivers, live))
        exports = export(plan.checkpoints.last, output / f"{config.name}.gguf", output / "hf", config.name, model)
        result = TrainingResult(
            position.step, task.tokens(position.step), task.evaluate_all(plan.valid), exports.gguf, exports.hf
        )
        write_result(output, result)
    for sentence in exports.refusals:
        report(sentence)
    wrote = " and ".join(str(path) for path in (result.gguf, result.hf) if path is not None) or "no export"
    report(f"{result.bits_per_byte:.4f} bits per byte on the held-out text; wrote {wrote}")
    return result


def _too_large(config: RunConfig) -> str:
    """What to do where a run does not fit into the memory."""
    return (
        f"There is not enough memory for training.batch_size = {config.training.batch_size} windows of "
        f"model.context_length = {config.model.context_length} tokens with this [model]; lower them, or raise "
        "training.accumulation."
    )
