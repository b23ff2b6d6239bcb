"""A run of `sterna finetune`: trains, evaluates and exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sterna.checkpoint.convert.hf_folder import tokenizer_files
from sterna.files.atomic import atomic_write
from sterna.finetune.plan import Plan, plan_finetuning
from sterna.train.allocator import keep_freed_memory
from sterna.train.corpus import Report
from sterna.train.distributed import process_rank, shard
from sterna.train.loop import Position, Run
from sterna.train.optimizer import make_optimizers
from sterna.train.running import alone, memory_errors, reproducible, sinks, to_stderr, told, write_result
from sterna.train.watch.machine import peak_flops
from sterna.train.watch.records import Sink
from sterna.train.watch.watch import Watch

TOO_LARGE = (
    "There is not enough memory for this model with training.batch_size rows of training.context tokens; raise "
    "training.accumulation, or set training.activation_checkpointing."
)


@dataclass(frozen=True)
class FineTuneResult:
    """What a run reached on the held-out examples (None without such), and the paths of its exports; None for a form
    that cannot hold the model, or was not asked for."""

    steps: int
    loss: float | None
    bits_per_byte: float | None
    gguf: Path | None
    hf: Path | None


def run_finetuning(
    config_path: Path, report: Report = to_stderr, overrides: Sequence[str] = (), live: Sink | None = None
) -> FineTuneResult:
    """Fine-tunes as the TOML file says, from the run's checkpoint if there is one, then evaluates and exports.

    The output folder receives the base's tokenizer, `state.safetensors` (the checkpoint, and with
    `state.previous.safetensors` the one before it), `log.jsonl` (`sterna.train.watch.records`), what the mode exports
    and `result.json`. `report` receives progress lines, `live` a record of kind `step` after every step. `overrides`
    replace keys of the file (`training.steps=100`). On a CPU a resumed run equals the unbroken one bit for bit.
    The run that follows one with `export.merge = "qat"` is made, too; the result is that of the first.
    Raises what `plan_finetuning` does, DivergedError for numbers that are not finite, UnsupportedError where another
    training runs in the output folder, SternaError where there is not enough memory.
    """
    checked = plan_finetuning(config_path, overrides)
    with alone(checked.output, checked.inputs.device):
        if process_rank() > 0:
            report, live = (lambda line: None), None
        result = _told_run(checked.continued(), report, live)
        following = checked.following()
        if following is not None:
            report(f"The adapter is merged into the model, and training goes on in {following.output}.")
            _told_run(following.continued(), report, live)
        return result


def _told_run(plan: Plan, report: Report, live: Sink | None) -> FineTuneResult:
    position = Position(plan.step, plan.step)
    with memory_errors(TOO_LARGE), told(position, report):
        return _run(plan, position, report, live)


def _run(plan: Plan, position: Position, report: Report, live: Sink | None) -> FineTuneResult:
    inputs, training, output = plan.inputs, plan.inputs.config.training, plan.output
    keep_freed_memory()
    for sentence in plan.notes:
        report(sentence)
    if process_rank() == 0:
        _write_tokenizer(plan)
    reproducible(inputs.device, training.seed)
    found = plan.found
    model = (plan.mode.new_model() if found is None else plan.mode.empty_model()).to(inputs.device)
    task = plan.mode.task(model, inputs.data, None if found is None else found.saved.task)
    for sentence in task.notes:
        report(sentence)
    shard(model, getattr(model, "blk", ()))
    optimizers = make_optimizers(model, training)
    guard = {} if found is None else plan.checkpoints.resume(found, model, optimizers, plan.origin)
    run = Run(task, optimizers, training, plan.checkpoints, plan.origin, position, guard)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    report(f"{parameters:,} trained parameters, step {plan.step} of {training.steps}")
    with sinks(output, plan.step, inputs.config.watch.tensorboard, report) as receivers:
        peak = peak_flops(inputs.device, training.precision) / plan.flops_per_token
        run.train(Watch(model, training, inputs.config.watch, task.tokens, peak, plan.step, receivers, live))
    exports = plan.mode.export(model, plan.checkpoints)
    measured = task.evaluate()
    result = FineTuneResult(
        position.step, measured.get("loss"), measured.get("bits_per_byte"), exports.gguf, exports.hf
    )
    write_result(output, result)
    for sentence in exports.refusals:
        report(sentence)
    wrote = " and ".join(str(path) for path in (result.gguf, result.hf) if path is not None) or "no export"
    reached = "" if result.loss is None else f"Held-out loss {result.loss:.4f} nats a token; "
    report(f"{reached}wrote {wrote}")
    return result


def _write_tokenizer(plan: Plan) -> None:
    """Puts the base's tokenizer into the output folder, where the export finds it."""
    plan.output.mkdir(exist_ok=True)
    for name, data in tokenizer_files(plan.inputs.base).items():
        path = plan.output / name
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as file:
            file.write(data)
