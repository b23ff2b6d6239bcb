"""Modes `convert` and `distill` on a tiny float base: norms, λ, terms of the loss, exports, resuming."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.errors import ArgumentError, SternaError, UnsupportedError  # noqa: E402
from sterna.finetune.base import open_base, quantization_of  # noqa: E402
from sterna.finetune.data.batches import Part, part_of  # noqa: E402
from sterna.finetune.distillation import relation_divergence  # noqa: E402
from sterna.finetune.plan import plan_finetuning  # noqa: E402
from sterna.finetune.run import run_finetuning  # noqa: E402
from sterna.finetune.warmup import set_share  # noqa: E402
from sterna.model.architecture import MATRICES  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.watch.records import read_records  # noqa: E402

from .bases import write_config, write_run  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("convert"), "LlamaForCausalLM")


def decoder_of(config: Path) -> Decoder:
    model = plan_finetuning(config).mode.new_model()
    assert isinstance(model, Decoder)
    return model


def some_part(config: Path) -> Part:
    plan = plan_finetuning(config)
    return part_of(list(plan.inputs.sources[0].sequences), 33, 141)


@pytest.mark.parametrize(
    ("norms", "more", "architecture"),
    [("none", "", "llama"), ("sub", "", "bitnet"), ("all", "", "llama"), ("none", "group_size = 64", "llama")],
)
def test_conversions_export_a_ternary_model_that_the_engine_runs(
    folder: Path, norms: str, more: str, architecture: str
) -> None:
    name = f"{norms}{len(more)}"
    config = write_config(
        folder, "convert", output=name, more=f"[convert]\nlambda_steps = 4\nnorms = '{norms}'\n{more}"
    )
    lines: list[str] = []
    result = run_finetuning(config, lines.append)
    assert result.loss is not None and result.loss < 3
    shares = [
        record["terms"]["lambda"] for record in read_records(folder / name / "log.jsonl") if record["kind"] == "step"
    ]
    assert shares == [0.375, 1.0, 1.0]
    assert result.gguf is not None
    model = open_checkpoint(result.gguf)
    assert model.config.architecture == architecture
    encodings = {
        tensor.encoding for key, tensor in model.tensors.items() if key.startswith("blk.") and len(tensor.shape) > 1
    }
    assert encodings == {Encoding.Q2_0 if more else Encoding.I2_S}
    assert any(key.endswith("_norm_in.weight") for key in model.tensors) == (norms == "all")
    plan = plan_finetuning(config)
    decoder = plan.mode.new_model()
    state = load_file(folder / name / "state.safetensors")
    decoder.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if "model." in key})
    ids = plan.inputs.sources[0].sequences[0].ids
    with torch.no_grad():
        expected = decoder(torch.from_numpy(ids)[None].long())[0].numpy()
    for path in (result.gguf, result.hf):
        if path is not None:
            logits = LLM(path, activations="float" if more else "int8").logits(ids.tolist())
            assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.8, path


KEPT = [*(f"blk.0.{name}.weight" for name in MATRICES), "blk.1.attn_q.weight", "blk.1.ffn_down.weight"]


@pytest.mark.parametrize("more", ["", "group_size = 64"])
def test_matrices_and_layers_that_are_kept_stay_in_full_precision(folder: Path, more: str) -> None:
    keep = 'keep = ["down_proj", "blk.1.attn_q", "lm_head"]\nlayers = [1]'
    config = write_config(
        folder, "convert", output=f"keep{len(more)}", steps=6, more=f"[convert]\nlambda_steps = 2\n{keep}\n{more}"
    )
    result = run_finetuning(config, lambda line: None, [] if more else ["export.gguf=i2_s"])
    plan = plan_finetuning(config)
    decoder = plan.mode.new_model()
    assert isinstance(decoder, Decoder)
    converted = ("attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")
    count = sum(decoder.get_parameter(f"blk.1.{name}.weight").numel() for name in converted)
    assert f" {count:,} of them ternary" in plan.mode.describe()[0]
    state = load_file(plan.checkpoints.last)
    decoder.load_state_dict({key.removeprefix("model."): value for key, value in state.items() if "model." in key})
    ids = plan.inputs.sources[0].sequences[0].ids
    with torch.no_grad():
        expected = decoder(torch.from_numpy(ids)[None].long())[0].numpy()
    for path in (result.gguf, result.hf):
        assert path is not None
        model = open_checkpoint(path)
        assert sorted(quantization_of(model).kept) == sorted(KEPT), "and mode full trains it as it is"
        ternary = {name for name, tensor in model.tensors.items() if tensor.encoding.is_ternary}
        assert ternary == {f"blk.1.{name}.weight" for name in converted}
        with LLM(path, kv="f32") as llm:
            assert np.abs(llm.logits(ids.tolist()) - expected).max() < 0.02 * np.abs(expected).max()


def test_latent_folders_say_what_is_no_latent_weight(tmp_path: Path) -> None:
    write_run(tmp_path)
    config = tmp_path / "base" / "config.json"
    raw = json.loads(config.read_text())
    assert quantization_of(open_base(tmp_path, "base")).kept == ()
    raw["quantization_config"]["modules_to_not_convert"] = [
        "lm_head",
        "model.layers.1.mlp",
        "layers.0.self_attn.q_proj",
    ]
    config.write_text(json.dumps(raw))
    kept = quantization_of(open_base(tmp_path, "base")).kept
    assert kept == ("blk.0.attn_q.weight", *(f"blk.1.{name}.weight" for name in ("ffn_gate", "ffn_up", "ffn_down")))


def test_an_inserted_norm_begins_with_the_size_of_its_input(folder: Path) -> None:
    config = write_config(folder, "convert", output="gain", more="[convert]\nnorms = 'all'")
    model = decoder_of(config)
    plain = decoder_of(write_config(folder, "convert", output="plain"))
    part = some_part(config)
    inputs: list[Tensor] = []
    watched = plain.get_submodule("blk.0.ffn_down")
    watched.register_forward_hook(lambda module, given, output: inputs.append(given[0]))
    with torch.no_grad():
        set_share(plain, 0.0)
        plain.rows(part.tokens, part.lengths)
    gain = model.get_parameter("blk.0.ffn_down_norm_in.weight")
    assert gain.unique().numel() == 1
    assert gain[0].item() == pytest.approx(inputs[0].square().mean().sqrt().item(), rel=1e-4)


def test_without_quantisation_a_conversion_is_the_base(folder: Path) -> None:
    config = write_config(folder, "convert", output="base-convert")
    part, model = some_part(config), decoder_of(config)
    base = decoder_of(write_config(folder, "full", output="base-full"))
    set_share(model, 0.0)
    with torch.no_grad():
        assert torch.allclose(model.rows(part.tokens, part.lengths), base.rows(part.tokens, part.lengths), atol=1e-5)


def test_distillation_logs_each_loss_and_balances_relations(folder: Path) -> None:
    more = "[convert]\nlambda_steps = 4\n[distill]\nlayer = -1\nsplit_heads = 8"
    config = write_config(folder, "distill", output="distill", more=more)
    lines: list[str] = []
    result = run_finetuning(config, lines.append)
    assert result.gguf is not None and result.loss is not None
    steps = [record for record in read_records(folder / "distill" / "log.jsonl") if record["kind"] == "step"]
    assert all(record["terms"].keys() == {"answers", "logits", "relations", "lambda"} for record in steps)
    note = next(line for line in lines if line.startswith("Relations of attention count "))
    weight = float(note.split()[4])
    plan = plan_finetuning(config)
    model = plan.mode.new_model()
    task = plan.mode.task(model, plan.inputs.data)
    (part,) = list(task.parts(0))
    set_share(model, 1.0)
    with torch.no_grad():
        task.loss(part)
    terms = task.terms()
    assert weight * terms["relations"] == pytest.approx(terms["answers"], rel=1e-2)


def test_relations_stay_inside_of_documents(folder: Path) -> None:
    more = "[distill]\nlayer = 0\nsplit_heads = 8\nrelations = 1.0\nlogits = 0.0"
    plan = plan_finetuning(write_config(folder, "distill", output="relations", more=more))
    model = plan.mode.new_model()
    task = plan.mode.task(model, plan.inputs.data)
    set_share(model, 1.0)
    sequences = plan.inputs.sources[0].sequences
    tokens = sum(map(len, sequences))
    with torch.no_grad():
        task.loss(part_of(list(sequences), 33, tokens))
        together = task.terms()["relations"]
        set_share(model, 1.0)
        for sequence in sequences:
            task.loss(part_of([sequence], 33, tokens))
    assert task.terms()["relations"] == pytest.approx(2 * together, rel=1e-4)
    assert together > 0
    x = torch.randn(5, 16)
    assert relation_divergence(x, x, 8).item() == pytest.approx(0, abs=1e-5)


def test_resumed_distillation_equals_the_unbroken_one(folder: Path) -> None:
    more = "[convert]\nlambda_steps = 6\n[distill]\nlayer = 0\nsplit_heads = 8"
    for output, stops in (("d-whole", []), ("d-parts", ["training.steps=5"])):
        config = write_config(folder, "distill", output=output, more=more, steps=8)
        for overrides in [stops, []] if stops else [[]]:
            run_finetuning(
                config, lambda line: None, [*overrides, "training.schedule=wsd", "training.decay_fraction=0.0"]
            )
    one, parts = (load_file(folder / name / "state.safetensors") for name in ("d-whole", "d-parts"))
    assert all(torch.equal(one[name], parts[name]) for name in one)


REFUSED: list[tuple[str, type[SternaError], str]] = [
    ("[convert]\nlambda = 'steps'", ArgumentError, "convert.lambda must be one of"),
    ("[convert]\nkeep = ['v_prj']", ArgumentError, "convert.keep names 'v_prj'"),
    ("[convert]\nkeep = ['all']", ArgumentError, "leave no matrix"),
    ("[convert]\nlayers = [2]", ArgumentError, "convert.layers names the layer 2; the model has 2"),
    ("[convert]\nlayers = [1]\nnorms = 'all'", ArgumentError, "whose matrices are all converted"),
    ("[convert]\nnorms = 'some'", ArgumentError, "convert.norms must be one of"),
    ("[convert]\ngroup_size = 32", ArgumentError, "group_size must be 64 or 128"),
    ("[distill]\nlayer = 7", ArgumentError, "no layer of a model with 2"),
    ("[distill]\nlayer = 0\nsplit_heads = 5", ArgumentError, "split_heads = 5 does not divide"),
    ("[distill]\nlayer = 0\ntau = 0.0", ArgumentError, "tau must be positive"),
    ("[convert]\nlambda = 'sigmoid'\nlambda_k = 1e9", ArgumentError, "convert.lambda_k"),
    ("[convert]\ninit = 'least-squares'\ngroup_size = 64", ArgumentError, "without convert.group_size"),
    ("[distill]\ntau = inf", ArgumentError, "distill.tau"),
    ("[distill]\nrelations = nan", ArgumentError, "distill.relations"),
]


@pytest.mark.parametrize(("more", "kind", "words"), REFUSED)
def test_what_cannot_be_done_is_refused(folder: Path, more: str, kind: type[SternaError], words: str) -> None:
    with pytest.raises(kind, match=words):
        run_finetuning(write_config(folder, "distill", output="refused", more=more + "\n[export]\nhf = false"))
    assert not (folder / "refused").exists()


def test_a_ternary_base_is_not_converted(tmp_path: Path) -> None:
    write_run(tmp_path)
    with pytest.raises(UnsupportedError, match="ternary already"):
        plan_finetuning(write_config(tmp_path, "convert"))
