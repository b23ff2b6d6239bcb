"""Mode `full` on tiny bases: the loss falls, packed and single rows agree, a resumed run equals the unbroken one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.errors import ArgumentError, FormatError  # noqa: E402
from sterna.finetune.data.batches import part_of  # noqa: E402
from sterna.finetune.describe import describe  # noqa: E402
from sterna.finetune.modes.distill import Distill, Distilling  # noqa: E402
from sterna.finetune.plan import plan_finetuning  # noqa: E402
from sterna.finetune.run import FineTuneResult, run_finetuning  # noqa: E402
from sterna.train import running  # noqa: E402
from sterna.train.watch.machine import flops_per_token  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402

from .bases import write_config, write_run  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> tuple[FineTuneResult, list[str]]:
    lines: list[str] = []
    return run_finetuning(write_config(folder), lines.append), lines


def test_loss_falls_and_is_measured_on_the_way(unbroken: tuple[FineTuneResult, list[str]]) -> None:
    result, lines = unbroken
    assert result.loss is not None and result.loss < 1.0
    assert any(line.startswith("step 10 valid") for line in lines)
    assert any(line.startswith("step 10 sample 'Hi") for line in lines)
    assert any("left" in line for line in lines)


def test_exports_run_in_the_engine_with_the_bases_chat_template(
    folder: Path, unbroken: tuple[FineTuneResult, list[str]]
) -> None:
    result, _ = unbroken
    assert result.gguf is not None and result.hf is not None
    plan = plan_finetuning(write_config(folder))
    model = plan.mode.new_model()
    state = load_file(folder / "out" / "state.safetensors")
    model.load_state_dict({name.removeprefix("model."): value for name, value in state.items() if "model." in name})
    (example,) = (sequence for sequence in plan.inputs.sources[0].sequences[:1])
    with torch.no_grad():
        expected = model(torch.from_numpy(example.ids)[None].long())[0].numpy()
    for path in (result.gguf, result.hf):
        llm = LLM(path)
        assert llm.tokenizer.chat_template == plan.inputs.tokenizer.chat_template
        logits = llm.logits(example.ids.tolist())
        assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_resumed_run_equals_the_unbroken_one(folder: Path, unbroken: tuple[FineTuneResult, list[str]]) -> None:
    config = write_config(folder, output="parts")
    run_finetuning(config, lambda line: None, ["training.steps=7", "training.decay_fraction=0.0"])
    run_finetuning(config, lambda line: None, ["training.decay_fraction=0.0"])
    run_finetuning(write_config(folder, output="one"), lambda line: None, ["training.decay_fraction=0.0"])
    one, parts = (load_file(folder / name / "state.safetensors") for name in ("one", "parts"))
    assert one.keys() == parts.keys()
    assert all(torch.equal(one[name], parts[name]) for name in one)


def test_a_run_goes_on_from_what_another_wrote_before_it_had_the_lock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, own = write_config(folder, output="lock", steps=2), running.locked

    @contextmanager
    def behind_another_run(output: Path) -> Iterator[None]:
        monkeypatch.undo()
        run_finetuning(config, lambda line: None)
        with own(output):
            yield

    monkeypatch.setattr(running, "locked", behind_another_run)
    lines: list[str] = []
    run_finetuning(config, lines.append)
    assert any("step 2 of 2" in line for line in lines)


def test_state_of_other_data_is_refused(folder: Path, unbroken: tuple[FineTuneResult, list[str]]) -> None:
    with pytest.raises(FormatError, match="belongs to other") as error:
        run_finetuning(write_config(folder), overrides=["training.context=80"])
    assert "data.train" not in str(error.value) and "[model]" not in str(error.value)


def test_speed_counts_the_tokens_that_rows_have(folder: Path, unbroken: tuple[FineTuneResult, list[str]]) -> None:
    batches = plan_finetuning(write_config(folder)).inputs.data.batches
    tokens = [sum(len(example) for row in batches.batch(step, 2) for example in row) for step in range(12)]
    assert max(tokens) < 2 * 96
    steps = [record for record in read_records(folder / "out" / "log.jsonl") if record["kind"] == "step"]
    assert [record["tokens"] for record in steps] == [sum(tokens[:4]), sum(tokens[:8]), sum(tokens)]


def test_what_a_state_replaces_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "LlamaForCausalLM")
    more = "[convert]\nnorms = 'sub'\n[distill]\nlayer = 0\nsplit_heads = 8"
    config = write_config(tmp_path, "distill", steps=4, more=more)
    lines: list[list[str]] = [[], []]
    run_finetuning(config, lines[0].append, ["training.steps=2"])

    def never(*arguments: object) -> None:
        raise AssertionError("the state has this already")

    monkeypatch.setattr(Distill, "new_model", never)
    monkeypatch.setattr(Distilling, "_balance", never)
    run_finetuning(config, lines[1].append)
    first, again = (next(line for line in each if line.startswith("Relations of attention")) for each in lines)
    assert first == again


def test_a_wrong_config_makes_no_output_folder(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="gradient_clip must be positive"):
        run_finetuning(write_config(folder, output="wrong"), overrides=["training.gradient_clip=0"])
    with pytest.raises(ArgumentError, match="have no example"):
        run_finetuning(write_config(folder, output="wrong"), overrides=["training.context=2"])
    assert not (folder / "wrong").exists()


@pytest.mark.parametrize(("mode", "more"), [("full", ""), ("convert", "[convert]\ngroup_size = 64")])
def test_packed_rows_have_the_loss_and_gradients_of_single_ones(tmp_path: Path, mode: str, more: str) -> None:
    """Of a float model, and of a ternary one whose activations are floats."""
    plan = plan_finetuning(write_config(write_run(tmp_path, "LlamaForCausalLM"), mode, more=more, output="packed"))
    model = plan.mode.new_model()
    task = plan.mode.task(model, plan.inputs.data)
    examples = plan.inputs.sources[0].sequences
    learned = sum(int(example.learned.sum()) for example in examples)

    def gradients(parts: list[list[object]]) -> tuple[float, dict[str, Tensor]]:
        model.zero_grad()
        losses = [task.loss(part_of(part, learned)) for part in parts]  # type: ignore[arg-type]
        for loss in losses:
            loss.backward()
        grads = {name: torch.clone(parameter.grad) for name, parameter in model.named_parameters()}
        return sum(loss.item() for loss in losses), grads

    together, packed = gradients([list(examples)])
    apart, single = gradients([[example] for example in examples])
    assert together == pytest.approx(apart, abs=1e-5)
    for name, gradient in single.items():
        assert (packed[name] - gradient).abs().max() <= 1e-5 + 1e-4 * gradient.abs().max(), name


def test_packed_rows_of_int8_activations_differ_by_roundings_of_halves_alone(folder: Path) -> None:
    """Sums of another order move what attention gives by some 1e-7, which flips codes that lie on the edge; what the
    layers behind make of a flip is their own. Codes of the first layer, which has no flips before it, prove it."""
    plan = plan_finetuning(write_config(folder, output="flips"))
    model = plan.mode.new_model()
    layer = model.get_submodule("blk.0.attn_output")
    seen: list[Tensor] = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
    examples = plan.inputs.sources[0].sequences
    with torch.no_grad():
        for part in ([*examples], *([example] for example in examples)):
            made = part_of(part, 1)
            model.rows(made.tokens, made.lengths)  # type: ignore[operator]
    packed, single = seen[0], torch.cat(seen[1:])
    assert torch.allclose(packed, single, atol=1e-5)
    (own, scale), (other, _) = (layer.quantize_input(x) for x in (packed, single))  # type: ignore[operator]
    flipped = own != other
    assert ((own - other).abs() <= 1).all() and flipped.float().mean() < 1e-2
    from_edge = ((packed * scale).frac().abs() - 0.5).abs()
    assert (from_edge[flipped] < 1e-3).all()


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"])
def test_float_bases_have_the_logits_of_transformers(tmp_path: Path, architecture: str) -> None:
    write_run(tmp_path, architecture)
    plan = plan_finetuning(write_config(tmp_path))
    model = plan.mode.new_model()
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    tokens = torch.from_numpy(plan.inputs.sources[0].sequences[0].ids)[None].long()
    with torch.no_grad():
        assert torch.allclose(model(tokens), reference(tokens).logits, atol=2e-5)


def test_dry_run_shows_what_is_learned_and_writes_nothing(folder: Path) -> None:
    plan = plan_finetuning(write_config(folder, output="dry"))
    lines = describe(plan)
    text = "\n".join(lines)
    assert not (folder / "dry").exists()
    assert "⟦The rain fell.<|eot_id|>⟧" in text and "Name a dog <|eot_id|>" in text
    assert "33 of them learned" in text
    assert "\x1b[32mThe rain fell." in "\n".join(describe(plan, colours=True))
    for start in ("mode:", "model:", "data:", "epoch:", "steps:", "memory:", "time:", "output:"):
        assert any(line.startswith(start) for line in lines), start


def test_the_estimated_time_is_that_of_rows_of_the_training_context(folder: Path) -> None:
    plan = plan_finetuning(write_config(folder, output="dry"))
    config = plan.inputs.base.config
    assert config.context_length > plan.inputs.config.training.context
    assert plan.flops_per_token < flops_per_token(config)


def test_the_head_too_is_multiplied_in_the_wanted_precision(folder: Path) -> None:
    plan = plan_finetuning(write_config(folder, output="half", training='precision = "bf16"'))
    model = plan.mode.new_model()
    task = plan.mode.task(model, plan.inputs.data)
    with torch.no_grad():
        rows = task.rows_of(task.decoder, part_of(list(plan.inputs.sources[0].sequences), 1))
        half, single = task.logits_of(task.decoder, rows), task.decoder.logits(rows)
        rounded = rows.bfloat16() @ model.get_parameter("token_embd.weight").bfloat16().T
    assert half.dtype == torch.float32 and not torch.equal(half, single)
    assert torch.equal(half, rounded.float())


def test_modes_and_their_sections_belong_together(folder: Path) -> None:
    with pytest.raises(ArgumentError, match="convert. does not belong to mode"):
        plan_finetuning(write_config(folder, more="[convert]\nnorms = 'sub'"))
    with pytest.raises(ArgumentError, match="mode must be one of"):
        plan_finetuning(write_config(folder, mode="half"))


def test_a_packed_base_begins_with_its_own_codes_and_scales(
    folder: Path, unbroken: tuple[FineTuneResult, list[str]]
) -> None:
    result, _ = unbroken
    assert result.gguf is not None
    config = write_config(folder, output="again")
    config.write_text(config.read_text().replace('base = "base"', 'base = "out/tern.gguf"'))
    plan = plan_finetuning(config)
    model = plan.mode.new_model()
    ids = plan.inputs.sources[0].sequences[0].ids
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None].long())[0].numpy()
    expected = LLM(result.gguf).logits(ids.tolist())
    assert np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()
    assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_rows_of_the_log_are_those_of_train(folder: Path, unbroken: tuple[FineTuneResult, list[str]]) -> None:
    kinds = {record["kind"] for record in read_records(folder / "out" / "log.jsonl")}
    assert {"step", "valid", "weights", "sample", "checkpoint", "stage"} <= kinds
