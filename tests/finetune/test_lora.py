"""Mode `lora` from config to adapter, on tiny bases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.errors import ArgumentError, FormatError, UnsupportedError  # noqa: E402
from sterna.files.embedded import EMBEDDED_MODEL  # noqa: E402
from sterna.finetune.describe import describe  # noqa: E402
from sterna.finetune.plan import plan_finetuning  # noqa: E402
from sterna.finetune.run import FineTuneResult, run_finetuning  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402

from ..command import sterna  # noqa: E402
from .bases import CONVERSATIONS, write_config, write_rows, write_run  # noqa: E402

LORA = "[lora]\nr = 4\nalpha = 8\ndropout = 0.1\nrank_pattern = {down_proj = 6}"
RATES = ["training.learning_rate=2e-2", "training.steps=30"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STERNA_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="module")
def result(folder: Path) -> FineTuneResult:
    merged = LORA + '\n[export]\nmerge = "float"\ngguf = "f32"'
    return run_finetuning(write_config(folder, "lora", more=merged), lambda line: None, RATES)


def test_the_adapter_learns_and_changes_what_the_engine_says(folder: Path, result: FineTuneResult) -> None:
    assert result.loss is not None and result.loss < 1.5
    assert result.gguf is not None and result.hf is not None
    ids = plan_finetuning(write_config(folder, "lora", more=LORA)).inputs.sources[0].sequences[0].ids
    with LLM(folder / "base", adapters={"peft": result.hf, "gguf": result.gguf}, kv="f32") as llm:
        assert np.array_equal(llm.logits(ids.tolist(), adapter="peft"), llm.logits(ids.tolist(), adapter="gguf"))
        question, answer = (message["content"] for message in CONVERSATIONS[0]["messages"])
        begin = [{"role": "user", "content": question}]
        assert llm.chat(begin, adapter="peft", temperature=0, max_tokens=30) == answer
        assert llm.chat(begin, temperature=0, max_tokens=30) != answer


def test_the_merged_model_is_the_base_with_the_adapter(folder: Path, result: FineTuneResult) -> None:
    tokens = list(range(5, 25))
    with LLM(folder / "base", adapters={"x": str(result.hf)}, kv="f32", activations="float") as llm:
        expected = llm.logits(tokens, adapter="x")
    with LLM(folder / "out" / "tern-merged.gguf", kv="f32", activations="float") as merged:
        assert np.abs(merged.logits(tokens) - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_ternary_model_is_trained_on_with_the_adapter_in_it(folder: Path) -> None:
    merged = LORA + '\n[export]\nmerge = "qat"\nmerge_steps = 12'
    config = write_config(folder, "lora", output="qat", more=merged)
    assert any("12 steps of all weights" in line for line in describe(plan_finetuning(config, RATES)))
    lines: list[str] = []
    run_finetuning(config, lines.append, RATES)
    (begins,) = (at for at, line in enumerate(lines) if line.startswith("The adapter is merged into the model"))
    assert "step 30 " in "\n".join(lines[:begins]) and "step 0 of 12" in lines[begins + 1]
    following = plan_finetuning(config, RATES).following()
    assert following is not None and following.continued().step == 12
    task = following.mode.task(following.mode.new_model(), following.inputs.data)
    rounded = task.evaluate()["loss"]
    trained = json.loads((folder / "qat" / "merged" / "result.json").read_text())
    assert trained["loss"] < rounded / 2
    model = open_checkpoint(trained["gguf"])
    matrices = [tensor for name, tensor in model.tensors.items() if name.startswith("blk.") and len(tensor.shape) == 2]
    assert {tensor.encoding for tensor in matrices} == {Encoding.I2_S}
    question, answer = (message["content"] for message in CONVERSATIONS[0]["messages"])
    with LLM(trained["gguf"]) as llm:
        assert llm.chat([{"role": "user", "content": question}], temperature=0, max_tokens=30) == answer


def test_the_weights_that_an_adapter_is_merged_into_are_latent(folder: Path, result: FineTuneResult) -> None:
    config = write_config(folder, "lora", more=LORA + '\n[export]\nmerge = "qat"')
    merged, base = (plan_finetuning(config).following(), plan_finetuning(write_config(folder, output="plain")))
    assert merged is not None
    change = merged.mode.new_model().state_dict()["blk.1.attn_q.weight"]
    change = change - base.mode.new_model().state_dict()["blk.1.attn_q.weight"]
    tensors = load_file(Path(str(result.hf)) / "adapter_model.safetensors")
    a, b = (tensors[f"base_model.model.model.layers.1.self_attn.q_proj.lora_{x}.weight"] for x in "AB")
    assert torch.allclose(change, 2 * b @ a, atol=1e-5)


def test_a_resumed_merge_equals_the_unbroken_one(folder: Path) -> None:
    merged = LORA + '\n[export]\nmerge = "qat"'
    for output, steps in (("m-parts", 3), ("m-parts", 8), ("m-one", 8)):
        config = write_config(folder, "lora", output=output, more=merged, steps=4)
        overrides = ["training.decay_fraction=0.0", f"export.merge_steps={steps}"]
        run_finetuning(config, lambda line: None, overrides)
    one, parts = (load_file(folder / name / "merged" / "state.safetensors") for name in ("m-one", "m-parts"))
    assert one.keys() == parts.keys() and all(torch.equal(one[name], parts[name]) for name in one)
    with pytest.raises(FormatError, match="belongs to another adapter"):
        run_finetuning(config, lambda line: None, [*overrides, "training.steps=5"])


@pytest.mark.parametrize(
    ("output", "holds"), [("kinds", "an adapter"), ("kinds/merged", "a model with an adapter in it")]
)
def test_full_fine_tuning_does_not_go_on_from_an_adapter_or_a_merged_model(
    folder: Path, output: str, holds: str
) -> None:
    if not (folder / output).exists():
        merged = LORA + '\n[export]\nmerge = "qat"'
        run_finetuning(write_config(folder, "lora", output="kinds", more=merged, steps=1), lambda line: None)
    plan = plan_finetuning(write_config(folder), [f"output={output}"])
    with pytest.raises(FormatError, match=f"holds {holds}, and this run trains a model; move it away"):
        plan.continued()


def test_a_model_that_is_not_ternary_is_not_merged_by_training(tmp_path: Path) -> None:
    write_run(tmp_path, "LlamaForCausalLM")
    with pytest.raises(ArgumentError, match='set export.merge = "float"'):
        plan_finetuning(write_config(tmp_path, "lora", more='[export]\nmerge = "qat"'))


def test_an_adapter_and_the_model_that_it_becomes_part_of_have_folders_of_their_own(folder: Path) -> None:
    config = write_config(folder, "lora", output="wrong", more='[export]\nmerge = "qat"')
    with pytest.raises(ArgumentError, match="another name than merged"):
        plan_finetuning(config, ["name=Merged"])


def test_the_embedded_model_learns_a_task_and_run_takes_the_adapter(tmp_path: Path) -> None:
    birds = ("tern", "gull", "swan", "crow", "wren", "finch")
    lines = [{"text": f"The {bird} said: I shall be back before the rain, {bird}."} for bird in birds]
    write_rows(tmp_path / "chat.jsonl", lines)
    text = write_config(tmp_path, "lora", more="[lora]\nr = 8").read_text()
    config = tmp_path / "tern.toml"
    config.write_text(
        text.replace('base = "base"', f'base = "{EMBEDDED_MODEL}"')
        .replace('path = "chat.jsonl"', 'path = "chat.jsonl"\nformat = "completion"')
        .replace('prompts = ["Hi"]', "")
    )
    first = ["training.steps=1", "training.learning_rate=1e-9", "output=before"]
    before = run_finetuning(config, lambda line: None, first)
    after = run_finetuning(config, lambda line: None, ["training.steps=16"])
    assert before.loss is not None and after.loss is not None and after.loss < before.loss / 4
    prompt = ("run", "-p", "The tern said:", "-n", "9", "--temp", "0")
    plain, adapted = sterna(*prompt), sterna(*prompt, "--lora", str(after.hf))
    assert adapted.stdout.startswith(" I shall be back before the rain"), adapted.stderr
    assert adapted.stdout == sterna(*prompt, "--lora", str(after.gguf)).stdout != plain.stdout


def test_a_resumed_run_equals_the_unbroken_one(folder: Path) -> None:
    constant = "training.decay_fraction=0.0"
    for output, steps in (("parts", 7), ("parts", 12), ("one", 12)):
        config = write_config(folder, "lora", output=output, more=LORA)
        run_finetuning(config, lambda line: None, [constant, f"training.steps={steps}"])
    one, parts = (load_file(folder / name / "state.safetensors") for name in ("one", "parts"))
    assert one.keys() == parts.keys() and all(torch.equal(one[name], parts[name]) for name in one)


def test_samples_are_made_without_dropout(folder: Path, result: FineTuneResult) -> None:
    init = f'init = "{Path(str(result.hf)).relative_to(folder)}"'
    texts = []
    for dropout in (0.0, 0.9):
        more = f"[lora]\n{init}\ndropout = {dropout}"
        plan = plan_finetuning(write_config(folder, "lora", output="samples", more=more))
        task = plan.mode.task(plan.mode.new_model(), plan.inputs.data)
        texts.append(list(task.samples()))
        assert task.model.training
    assert texts[0] == texts[1]


def test_it_goes_on_from_an_adapter(folder: Path, result: FineTuneResult) -> None:
    more = f'[lora]\ninit = "{Path(str(result.hf)).relative_to(folder)}"'
    model = plan_finetuning(write_config(folder, "lora", output="next", more=more)).mode.new_model()
    tensors = load_file(Path(str(result.hf)) / "adapter_model.safetensors")
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"
    assert torch.equal(model.state_dict()["blk.1.ffn_down.b"], tensors[name])


def test_the_dry_run_names_what_takes_memory(folder: Path) -> None:
    lines = describe(plan_finetuning(write_config(folder, "lora", output="dry", more=LORA)))
    (peak,) = (line for line in lines if line.startswith("peak:"))
    for part in ("PyTorch", "packed base", "adapter, gradients and moments", "inputs of layers", "logits"):
        assert part in peak


@pytest.mark.parametrize(
    ("more", "training", "error", "match"),
    [
        ("[lora]\ndora = true", "", UnsupportedError, "DoRA"),
        ("[lora]\nr = 0", "", ArgumentError, "lora.r"),
        ("[lora]\ntargets = ['attn_x']", "", ArgumentError, "lora.targets names 'attn_x'"),
        ("[lora]\nlayers = [99]", "", ArgumentError, "lora.layers names the layer 99"),
        ("[lora]\nrank_pattern = {q_proj = 'x'}", "", ArgumentError, "lora.rank_pattern.q_proj must be of type int"),
        ("", "precision = 'bf16'", ArgumentError, "training.precision"),
        ("[export]\nmerge = 'i2_s'", "", ArgumentError, "export.merge must be one of none, float, qat"),
        ("[export]\nmerge_steps = 3", "", ArgumentError, 'is for export.merge = "qat"'),
        ("[export]\nmerge = 'qat'\nmerge_steps = 0", "", ArgumentError, "export.merge_steps must be positive"),
        (
            "[export]\nmerge = 'qat'\n[lora]\ntargets = ['lm_head']",
            "",
            ArgumentError,
            "no place for an adapter of lm_head",
        ),
        (
            "[export]\nmerge = 'float'\ngguf = 'i2_s'",
            "",
            ArgumentError,
            "export.gguf must be one of f32, f16, bf16, q8_0",
        ),
        ("[export]\ngguf = 'f16'", "", ArgumentError, 'export.gguf .* needs export.merge = "float"'),
    ],
)
def test_what_cannot_be_is_one_sentence(
    folder: Path, more: str, training: str, error: type[Exception], match: str
) -> None:
    config = write_config(folder, "lora", output="wrong", more=more, training=training)
    with pytest.raises(error, match=match):
        run_finetuning(config, lambda line: None)
    assert not (folder / "wrong").exists()


def test_several_processes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ArgumentError, match="without torchrun"):
        plan_finetuning(write_config(folder, "lora", output="two"))
