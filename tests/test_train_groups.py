"""Training with a scale for each group of columns: the quantiser, a tiny run, its exports in the engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.checkpoint.convert import convert  # noqa: E402
from sterna.errors import ArgumentError, FormatError  # noqa: E402
from sterna.tensor.decode import decode, ternary_codes  # noqa: E402
from sterna.ternary.groups import GroupQuantizer, group_quantizer  # noqa: E402
from sterna.ternary.quantization import Quantization  # noqa: E402
from sterna.train.bitlinear import BitLinear  # noqa: E402
from sterna.train.config import load_config  # noqa: E402
from sterna.train.describe import describe  # noqa: E402
from sterna.train.export import export, group_values  # noqa: E402
from sterna.train.model import Decoder  # noqa: E402
from sterna.train.plan import new_decoder, plan_training  # noqa: E402
from sterna.train.quantizers import ternary_groups  # noqa: E402
from sterna.train.state import load_state  # noqa: E402
from sterna.train.trainer import TrainingResult, run_training  # noqa: E402

from .test_train_run import CONFIG, one_thread, write_corpus  # noqa: E402, F401

BONSAI = GroupQuantizer(128, 42)
GROUPS = """
[quantization]
group_size = 128
zero_share = 0.328
embedding = true
"""


@given(
    st.sampled_from([GroupQuantizer(size, zeros) for size in (64, 128) for zeros in (None, 0, 1, 42, 63)]),
    st.integers(0, 1000),
    st.sampled_from([1e-6, 0.02, 1e4]),
)
def test_torch_and_numpy_quantise_to_the_same_bits(quantizer: GroupQuantizer, seed: int, size: float) -> None:
    weight = (np.random.default_rng(seed).standard_normal((5, 256)) * size).astype(np.float32)
    weight[0, :128] = 0
    weight[1, ::2] = weight[1, 1]  # equal magnitudes
    codes, scales = quantizer(weight)
    expected = codes * np.repeat(scales, quantizer.group_size, axis=1)
    np.testing.assert_array_equal(ternary_groups(torch.from_numpy(weight), quantizer).numpy(), expected)
    assert np.array_equal(scales, scales.astype(np.float16))


def test_a_share_of_zeros_is_kept_in_every_group() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    codes, scales = BONSAI(weight)
    groups = codes.reshape(64, 4, 128)
    assert (np.count_nonzero(groups == 0, axis=-1) == 42).all()
    magnitudes = np.abs(weight).reshape(groups.shape)
    least_kept = np.where(groups == 0, np.inf, magnitudes).min(axis=-1)
    assert (least_kept > np.where(groups == 0, magnitudes, 0).max(axis=-1)).all()
    assert np.array_equal(np.sign(weight)[codes != 0], codes[codes != 0])
    kept = np.where(groups == 0, np.nan, magnitudes)
    np.testing.assert_allclose(scales, np.nanmean(kept, axis=-1), rtol=2**-11)


def test_without_a_share_absmean_decides_in_each_group_and_none_makes_binary_weights() -> None:
    weight = np.random.default_rng(1).standard_normal((8, 256)).astype(np.float32)
    groups = weight.reshape(8, 2, 128)
    expected = np.clip(np.rint(groups / np.abs(groups).mean(axis=-1, keepdims=True)), -1, 1)
    assert np.array_equal(GroupQuantizer(128)(weight)[0].reshape(groups.shape), expected)
    assert np.array_equal(GroupQuantizer(128, 0)(weight)[0], np.where(weight < 0, -1, 1))


def test_inputs_stay_float_and_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    layer = BitLinear(256, 48, 0.1, Quantization(groups=BONSAI, activations="float"))
    x, upstream = torch.randn(7, 256, requires_grad=True), torch.randn(7, 48)
    values = ternary_groups(layer.weight.detach(), BONSAI)
    y = layer(x)
    y.backward(upstream)
    torch.testing.assert_close(y, x @ values.T)
    torch.testing.assert_close(x.grad, upstream @ values)
    torch.testing.assert_close(layer.weight.grad, upstream.T @ x.detach())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingResult, Decoder, Path]:
    """The result of a few steps, the model with its latent weights, and its state."""
    folder = tmp_path_factory.mktemp("groups")
    write_corpus(folder)
    path = folder / "run.toml"
    path.write_text(CONFIG.format(output="out", steps=12, optimizer="adamw") + GROUPS)
    result = run_training(path, lambda line: None)
    config, state = load_config(path), folder / "out" / "state.safetensors"
    model = new_decoder(config)
    assert load_state(state, model, None, {}).step == 12
    return result, model, state


def test_an_export_holds_the_trained_weights_to_the_bit(run: tuple[TrainingResult, Decoder, Path]) -> None:
    result, model, _ = run
    tensors = open_checkpoint(result.gguf).load().tensors
    values = group_values(model)
    assert len(values) == 15
    for name, expected in values.items():
        assert tensors[name].encoding.value == "pq2_0"
        assert np.array_equal(decode(tensors[name]), expected.numpy()), name
        zeros = ternary_codes(tensors[name])[0].reshape(-1, 128) == 0
        assert (zeros.sum(axis=-1) == 42).all()


@pytest.mark.parametrize("type", ["pq2_0", "ptq1_0", "q2_0", "f16"])
def test_the_engine_gives_the_trainers_logits(
    run: tuple[TrainingResult, Decoder, Path], type: str, tmp_path: Path
) -> None:
    _, model, state = run
    report = convert(state, tmp_path / "m.gguf", type=type, head=type, verify=True)
    assert report.scale_change == 0 and report.types == {type: 15, "f32": 9}
    tokens = np.random.default_rng(2).integers(0, 384, 24)
    with torch.no_grad():
        expected = model(torch.from_numpy(tokens)[None])[0].numpy()
    for activations, most in (("float", 1e-5), ("int8", 2e-3)):
        logits = LLM(report.path, threads=1, kv="f32", activations=activations).logits(tokens.tolist())
        assert np.abs(logits - expected).max() < most * np.abs(expected).max(), activations


def test_the_folder_of_a_run_holds_the_same_weights(run: tuple[TrainingResult, Decoder, Path]) -> None:
    result, model, _ = run
    assert "quantization_config" not in json.loads((result.hf / "config.json").read_text())
    tensors = open_checkpoint(result.hf).load().tensors
    for name, expected in group_values(model).items():
        assert tensors[name].encoding.value == "pq2_0"
        assert np.array_equal(decode(tensors[name]), expected.numpy()), name


def test_an_export_of_other_weights_is_noticed(run: tuple[TrainingResult, Decoder, Path], tmp_path: Path) -> None:
    _, model, state = run
    other = Decoder(model.config, Quantization(groups=BONSAI, activations="float", embedding=True))
    with pytest.raises(FormatError, match="does not hold the trained weights of"):
        export(state, tmp_path / "m.gguf", tmp_path / "hf", "m", other)


@pytest.mark.parametrize(
    ("keys", "types"),
    [
        (["quantization.zero_share=0"], {"q1_0": 14, "f16": 1, "f32": 9}),
        (["quantization.group_size=64"], {"q2_0": 14, "f16": 1, "f32": 9}),
    ],
)
def test_other_groups_have_their_own_encodings(tmp_path: Path, keys: list[str], types: dict[str, int]) -> None:
    write_corpus(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(output="out", steps=1, optimizer="adamw") + GROUPS)
    overrides = ["quantization.embedding=false", *keys]
    result = run_training(path, lambda line: None, overrides)
    assert convert(result.gguf, tmp_path / "m.gguf").types == types
    lines = describe(plan_training(path, overrides))
    size = "64, 21" if "64" in keys[0] else "128, 0"
    assert lines[0].endswith(f" of them ternary in groups of {size} of each 0; activations float")


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        (["quantization.group_size=96"], "a group has 64 or 128 weights, not 96"),
        (["quantization.zero_share=1.0"], "between 0 and 0.992"),
        (["quantization.zero_share=nan"], "nan does not"),
        (["quantization.zero_share=-0.1"], "-0.1 does not"),
        (["quantization.zero_share=half"], "must be of type float"),
        (["quantization.groups=1"], "Unknown key quantization.groups"),
    ],
)
def test_groups_that_cannot_be_are_refused(tmp_path: Path, keys: list[str], sentence: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(output="out", steps=1, optimizer="adamw") + GROUPS)
    with pytest.raises(ArgumentError, match=sentence):
        load_config(path, keys)
    path.write_text(CONFIG.format(output="out", steps=1, optimizer="adamw") + "[quantization]\nzero_share = 0.3\n")
    with pytest.raises(ArgumentError, match=r"need a quantization\.group_size"):
        load_config(path)


def test_a_state_says_how_its_weights_are_made_ternary(
    run: tuple[TrainingResult, Decoder, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    _, _, state = run
    tensors = load_file(state)
    with open(state, "rb") as file:
        metadata = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    recorded = json.loads(metadata["quantization"])
    groups = {"group_size": 128, "zeros": 42}
    kind = {"weights": "ternary", "groups": groups, "activations": "float", "embedding": True}
    assert recorded == kind | {"kept": []}
    wrong = [
        {"groups": {"group_size": 7, "zeros": 1}},
        {"groups": {"group_size": 128, "zeros": True}},
        {"groups": {"group_size": 128.0, "zeros": 42}},
        {"weights": "quaternary"},
        {"activations": ["float"]},
        {"activations": "int8"},
        {"embedding": 1},
        {"kept": "blk.0.attn_q.weight"},
        {"kept": [1]},
    ]
    for broken in ("[]", "{", "{}", "1e999", *(json.dumps(recorded | change) for change in wrong)):
        save_file(tensors, tmp_path / "state.safetensors", metadata | {"quantization": broken})
        with pytest.raises(FormatError, match="made ternary"):
            open_checkpoint(tmp_path / "state.safetensors")
    del metadata["quantization"]
    save_file(tensors, tmp_path / "state.safetensors", metadata)
    assert open_checkpoint(tmp_path / "state.safetensors").latent


def test_convert_makes_latent_weights_ternary_in_groups(
    run: tuple[TrainingResult, Decoder, Path], tmp_path: Path
) -> None:
    result, _, _ = run
    write_corpus(tmp_path)
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(output="out", steps=1, optimizer="adamw"))
    run_training(path, lambda line: None)
    state = tmp_path / "out" / "state.safetensors"
    report = convert(state, tmp_path / "m.gguf", type="ptq1_0", group_size=128, zero_share=0.328, verify=True)
    assert report.types == {"ptq1_0": 14, "f16": 1, "f32": 9} and "groups of 128, unlike" in report.notes[0]
    name = "blk.1.ffn_down.weight"
    latent = decode(open_checkpoint(state).load().tensors[name])
    codes, scales = group_quantizer(128, 0.328)(latent)
    got = ternary_codes(open_checkpoint(report.path).load().tensors[name])
    assert np.array_equal(got[0], codes) and np.array_equal(got[1], scales)
    for source in (result.gguf, run[2]):  # ternary already
        with pytest.raises(ArgumentError, match="for latent weights"):
            convert(source, tmp_path / "no.gguf", group_size=128)
    with pytest.raises(ArgumentError, match="64 or 128 weights, not 32"):
        convert(state, tmp_path / "no.gguf", group_size=32)
    with pytest.raises(ArgumentError, match="needs a group size"):
        convert(state, tmp_path / "no.gguf", zero_share=0.3)
