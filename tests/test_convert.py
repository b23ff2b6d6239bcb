"""Conversions between formats: the result is the same model, and appears complete or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna import LLM
from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.convert import convert, verify
from sterna.errors import ArgumentError, FormatError, NotFoundError, UnsupportedError
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.files.gguf import read_gguf, write_gguf
from sterna.files.safetensors.reader import read_folder
from sterna.files.safetensors.writer import OutTensor, write_safetensors
from sterna.model.tokenizer import Tokenizer
from sterna.tensor.decode import as_float32, ternary_codes
from sterna.tensor.encodings import Encoding
from sterna.tensor.recode import Changes, half_order, interleaved_order, recode
from sterna.tensor.tensor import CHUNK_WEIGHTS, Tensor
from sterna.ternary import pack_i2s

from . import helpers
from .tiny_vocabularies import byte_level_json

BITNET, LLAMA = (helpers.DATA / helpers.GOLDEN[name][0] for name in ("bitnet-b1.58", "llama"))
SILU = replace(helpers.TINY, architecture="bitnet", activation="silu")
RAGGED = replace(helpers.TINY, hidden_size=256, intermediate_size=384, num_heads=4, head_dim=64)


def logits(path: Path) -> np.ndarray:
    return LLM(path, threads=1).logits(helpers.TOKENS)


def codes(path: Path) -> dict[str, Any]:
    """Codes of all ternary matrices."""
    tensors = open_checkpoint(path).load().tensors.values()
    return {t.name: ternary_codes(t)[0].tobytes() for t in tensors if t.encoding.is_ternary}


def write_model(path: Path, config: Any = helpers.TINY, **tensors: Tensor) -> Path:
    write_gguf(path, helpers.gguf_metadata(config), (helpers.tiny_tensors(config) | tensors).values())
    return path


@pytest.mark.parametrize("model", [BITNET, LLAMA], ids=["bitnet", "llama"])
def test_gguf_to_folder_and_back_is_the_same_model(tmp_path: Path, model: Path) -> None:
    folder = convert(model, tmp_path / "folder", verify=True)
    back = convert(tmp_path / "folder", tmp_path / "back.gguf", verify=True)
    assert folder.scale_change == back.scale_change == 0 and not folder.notes
    first, second = read_gguf(model), read_gguf(back.path)
    for name, tensor in first.tensors.items():
        # transformers wants one float type, so the F16 embedding passed through F32.
        same = as_float32(second.tensors[name]) if tensor.encoding is Encoding.F16 else second.tensors[name]
        expected = as_float32(tensor) if tensor.encoding is Encoding.F16 else tensor
        assert same.data.tobytes() == expected.data.tobytes() and same.scale == expected.scale
    np.testing.assert_array_equal(logits(back.path), logits(model))
    half = replace(open_checkpoint(model).load().config, rope_style="half")
    assert open_checkpoint(tmp_path / "folder").load().config == half


@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0", "i2_s"])
@pytest.mark.parametrize("model", [BITNET, LLAMA], ids=["bitnet", "llama"])
def test_ternary_types_keep_the_codes(tmp_path: Path, model: Path, kind: str) -> None:
    report = convert(model, tmp_path / "m.gguf", type=kind, verify=True)
    assert report.types[kind] == 21 and codes(report.path) == codes(model)
    assert (report.scale_change > 0) == (kind != "i2_s") and report.scale_change < 2**-11
    back = convert(report.path, tmp_path / "back.gguf", type="i2_s", verify=True)
    assert back.scale_change == 0 and codes(back.path) == codes(model)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q6_k"])
def test_float_types_hold_the_same_values(tmp_path: Path, kind: str) -> None:
    report = convert(BITNET, tmp_path / "m.gguf", type=kind, head=kind, verify=True)
    assert report.types == {kind: 22, "f32": 13} if kind != "f32" else {kind: 35}
    # The written matrices are not ternary, so their activations are not int8.
    reference = LLM(BITNET, threads=1, activations="float").logits(helpers.TOKENS)
    assert helpers.mean_kl(reference, logits(report.path)) < {"q6_k": 0.2, "q8_0": 3e-3}.get(kind, 1e-3)
    assert read_gguf(report.path).metadata["general.file_type"] == {"f32": 0, "f16": 1, "bf16": 32, "q8_0": 7}.get(
        kind, 18
    )


@pytest.mark.parametrize("layout", ["arm", "x86-rows"])
def test_other_layouts_of_i2_s_become_the_common_one(tmp_path: Path, layout: str) -> None:
    file = read_gguf(BITNET)
    tensors = [
        replace(t, data=pack_i2s(ternary_codes(t)[0], layout)) if t.encoding.is_ternary else t
        for t in file.tensors.values()
    ]
    write_gguf(tmp_path / "other.gguf", file.metadata, tensors)
    path = convert(tmp_path / "other.gguf", tmp_path / "m.gguf", i2s_layout=layout).path
    assert helpers.dump_tensors(read_gguf(path).tensors) == helpers.dump_tensors(file.tensors)


def test_dequantised_copy_becomes_ternary_again(tmp_path: Path) -> None:
    convert(BITNET, tmp_path / "floats.gguf", type="f32")
    report = convert(tmp_path / "floats.gguf", tmp_path / "m.gguf", type="i2_s", verify=True)
    np.testing.assert_array_equal(logits(report.path), logits(BITNET))


def test_latent_weights_are_quantised_by_absmean_and_others_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    latent = {"blk.0.attn_q.weight": helpers.float_tensor("blk.0.attn_q.weight", values)}
    model = write_model(tmp_path / "latent.gguf", **latent)
    convert(model, tmp_path / "m.gguf", type="i2_s", verify=True)
    tensor = open_checkpoint(tmp_path / "m.gguf").load().tensors["blk.0.attn_q.weight"]
    assert tensor.scale == pytest.approx(np.abs(values).mean(), rel=1e-6)
    llama = replace(helpers.TINY, architecture="llama", activation="silu", rope_style="interleaved")
    write_model(tmp_path / "llama.gguf", llama, **latent)
    with pytest.raises(UnsupportedError, match="blk.0.attn_q.weight.*not ternary.*q8_0"):
        convert(tmp_path / "llama.gguf", tmp_path / "no.gguf", type="i2_s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latent.gguf", "llama.gguf", "m.gguf"]


def test_blocks_with_different_scales_are_not_forced_into_one(tmp_path: Path) -> None:
    convert(BITNET, tmp_path / "tq.gguf", type="tq2_0")
    data = bytearray((tmp_path / "tq.gguf").read_bytes())
    tensor = read_gguf(tmp_path / "tq.gguf").tensors["blk.1.ffn_up.weight"]
    place = bytes(data).index(tensor.data.tobytes())
    data[place + 64 : place + 66] = np.float16(0.5).tobytes()
    (tmp_path / "tq.gguf").write_bytes(data)
    for target in ("m.gguf", "folder"):
        with pytest.raises(UnsupportedError, match="blk.1.ffn_up.weight"):
            convert(tmp_path / "tq.gguf", tmp_path / target, type="i2_s")
    convert(tmp_path / "tq.gguf", tmp_path / "tq1.gguf", type="tq1_0", verify=True)


def test_rows_that_do_not_fill_a_type_fall_back_aloud_or_fail(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", RAGGED)  # ffn_down has rows of 384
    report = convert(model, tmp_path / "tq.gguf", type="tq1_0", verify=True)
    assert report.types["tq1_0"] == 12 and report.types.get("q4_0", report.types["f16"] - 1) == 2
    assert len(report.notes) == 1 and "2 tensors, such as blk.0.ffn_down.weight" in report.notes[0]

    assert np.isfinite(LLM(report.path, threads=1).logits([1, 2, 3])).all()
    with pytest.raises(UnsupportedError, match="blk.0.ffn_down.weight.*strict"):
        convert(model, tmp_path / "strict.gguf", type="tq1_0", strict=True)
    assert not (tmp_path / "strict.gguf").exists()


def test_llama_q_and_k_are_permuted_between_orders() -> None:
    order = interleaved_order(16, 8)
    assert order[:8].tolist() == [0, 4, 1, 5, 2, 6, 3, 7] and order[8] == 8
    assert np.array_equal(order[half_order(16, 8)], np.arange(16))


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ],
    ids=lambda scaling: scaling["rope_type"],
)
def test_rope_scaling_goes_into_gguf(tmp_path: Path, scaling: dict[str, Any]) -> None:
    folder = convert(LLAMA, tmp_path / "folder").path
    config = json.loads((folder / "config.json").read_text()) | {"rope_scaling": scaling}
    (folder / "config.json").write_text(json.dumps(config))
    path = convert(folder, tmp_path / "m.gguf", verify=True).path
    assert open_checkpoint(path).load().config.rope_divisors == pytest.approx(
        open_checkpoint(folder).load().config.rope_divisors
    )
    assert helpers.mean_kl(logits(folder), logits(path)) < 1e-3  # an int8 code may round the other way
    assert helpers.mean_kl(logits(LLAMA), logits(path)) > 1e-3
    again = convert(path, tmp_path / "again.gguf", verify=True).path
    np.testing.assert_array_equal(logits(again), logits(path))
    if scaling["rope_type"] == "linear":
        convert(path, tmp_path / "back", verify=True)
    else:
        with pytest.raises(UnsupportedError, match="rope"):
            convert(path, tmp_path / "back")


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_qwen_goes_into_a_folder_and_back(tmp_path: Path, architecture: str) -> None:
    config = replace(helpers.TINY, architecture=architecture, activation="silu", head_dim=32)
    convert(write_model(tmp_path / "m.gguf", config), tmp_path / "folder", verify=True)
    written = json.loads((tmp_path / "folder" / "config.json").read_text())["architectures"]
    assert written == [f"{architecture.capitalize()}ForCausalLM"]
    back = convert(tmp_path / "folder", tmp_path / "back.gguf", verify=True).path
    tokens = [1, 2, 3, 4]
    ours, first = (LLM(path, threads=1).logits(tokens) for path in (back, tmp_path / "m.gguf"))
    np.testing.assert_array_equal(ours, first)


def test_silu_models_are_called_bitnet_and_relu2_ones_bitnet_b158(tmp_path: Path) -> None:
    renamed = {k.replace("bitnet-b1.58", "bitnet"): v for k, v in helpers.gguf_metadata().items()}
    relu2 = renamed | {"general.architecture": "bitnet", "bitnet.hidden_activation": "relu2"}
    write_gguf(tmp_path / "relu2.gguf", relu2, helpers.tiny_tensors().values())
    convert(tmp_path / "relu2.gguf", tmp_path / "m.gguf")
    assert read_gguf(tmp_path / "m.gguf").metadata["general.architecture"] == "bitnet-b1.58"
    convert(write_model(tmp_path / "silu.gguf", SILU), tmp_path / "folder")
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["hidden_act"] == "silu"
    convert(tmp_path / "folder", tmp_path / "back.gguf")
    metadata = read_gguf(tmp_path / "back.gguf").metadata
    assert metadata["general.architecture"] == "bitnet" and metadata["bitnet.hidden_activation"] == "silu"


def test_head_of_its_own_keeps_a_bitnet_model_out_of_gguf(tmp_path: Path) -> None:
    convert(BITNET, tmp_path / "folder")
    folder = tmp_path / "folder"
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    stored = {name: replace(t, data=np.array(t.data)) for name, t in read_folder(folder).items()}
    stored["lm_head.weight"] = replace(stored["model.embed_tokens.weight"], name="lm_head.weight")
    write_safetensors(folder, [OutTensor(t.name, t.dtype, t.shape, partial(iter, [t.data])) for t in stored.values()])
    with pytest.raises(UnsupportedError, match="head of its own"):
        convert(folder, tmp_path / "m.gguf")
    assert not open_checkpoint(convert(folder, tmp_path / "again").path).load().config.tied_head


def test_embedded_model_carries_tokenizer_and_name(tmp_path: Path) -> None:
    convert(EMBEDDED_MODEL, tmp_path / "folder")
    convert(tmp_path / "folder", tmp_path / "back.gguf", name="Tern")
    first, second, third = (Tokenizer(p) for p in (EMBEDDED_MODEL, tmp_path / "folder", tmp_path / "back.gguf"))
    text = "It was a dark and stormy night; <|endoftext|> 'twas 1848."
    assert first.encode(text) == second.encode(text) == third.encode(text)
    assert first.eos_ids == second.eos_ids == third.eos_ids and first.bos_id == third.bos_id
    metadata = read_gguf(tmp_path / "back.gguf").metadata
    assert metadata["general.name"] == "Tern" and metadata["tokenizer.ggml.pre"] == "llama-bpe"
    assert LLM(tmp_path / "back.gguf").generate("Once", max_tokens=8) == LLM().generate("Once", max_tokens=8)


def test_vocabulary_is_as_long_as_a_padded_embedding(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_json())
    tokenizer = Tokenizer(tmp_path / "tokenizer.json")
    padded = replace(helpers.TINY, vocab_size=tokenizer.vocab_size + 10)
    convert(write_model(tmp_path / "m.gguf", padded), tmp_path / "folder")
    shutil.copy(tmp_path / "tokenizer.json", tmp_path / "folder")
    metadata = read_gguf(convert(tmp_path / "folder", tmp_path / "back.gguf").path).metadata
    assert len(metadata["tokenizer.ggml.tokens"]) == len(metadata["tokenizer.ggml.token_type"]) == padded.vocab_size
    assert metadata["tokenizer.ggml.token_type"][-10:].tolist() == [5] * 10
    assert Tokenizer(tmp_path / "back.gguf").encode("a b [PAD410]") == tokenizer.encode("a b [PAD410]")


@pytest.mark.parametrize("kind", ["tq1_0", "tq2_0"])
def test_every_ternary_type_runs_alike(tmp_path: Path, kind: str) -> None:
    path = convert(BITNET, tmp_path / "m.gguf", type=kind).path
    assert helpers.mean_kl(logits(BITNET), logits(path)) < 1e-2  # float16 scales change some int8 codes


def test_split_files_are_read_from_any_part_and_written(tmp_path: Path) -> None:
    report = convert(EMBEDDED_MODEL, tmp_path / "m.gguf", split_bytes=3 << 19, verify=True)
    assert [path.name for path in report.files] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    whole = helpers.dump_tensors(read_gguf(EMBEDDED_MODEL).tensors)
    for path in report.files:
        assert helpers.dump_tensors(read_gguf(path).tensors) == whole
    joined = convert(report.files[1], tmp_path / "joined.gguf")
    assert "split.count" not in read_gguf(joined.path).metadata
    np.testing.assert_array_equal(logits(joined.path), logits(EMBEDDED_MODEL))
    with pytest.raises(ArgumentError, match="there already"):
        convert(EMBEDDED_MODEL, tmp_path / "m.gguf", split_bytes=3 << 19)


def test_broken_splits_are_one_sentence(tmp_path: Path) -> None:
    first, second, third = convert(EMBEDDED_MODEL, tmp_path / "m.gguf", split_bytes=3 << 19).files
    shutil.copy(first, tmp_path / "renamed.gguf")
    with pytest.raises(FormatError, match="is a part of 3 files, but is not called"):
        read_gguf(tmp_path / "renamed.gguf")
    data = second.read_bytes()
    second.unlink()
    with pytest.raises(NotFoundError, match="part 2 of 3 of this model, is missing"):
        read_gguf(third)
    shutil.copy(first, second)  # the first part under the second's name
    with pytest.raises(FormatError, match="another part than its name"):
        read_gguf(first)
    second.write_bytes(data)
    read_gguf(first)


def test_safetensors_are_written_in_shards(tmp_path: Path) -> None:
    arrays = {name: np.full((64, 8), i, np.float32) for i, name in enumerate("abc")}
    tensors = [
        OutTensor(name, "F32", array.shape, partial(iter, [array.reshape(-1).view(np.uint8)]))
        for name, array in arrays.items()
    ]
    write_safetensors(tmp_path, tensors, shard_bytes=2 * 64 * 8 * 4)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        f"model-0000{i}-of-00002.safetensors" for i in (1, 2)
    ]
    read = read_folder(tmp_path)
    assert {name: tensor.data.view(np.float32)[0] for name, tensor in read.items()} == {"a": 0.0, "b": 1.0, "c": 2.0}


def test_large_float_matrices_are_made_in_pieces() -> None:
    rows = 4 * CHUNK_WEIGHTS // 4096
    tensor = Tensor("token_embd.weight", (rows, 4096), Encoding.F16, np.zeros(rows * 4096 * 2, np.uint8))
    parts = [(part.shape, part.data.nbytes) for part in recode(tensor, Encoding.Q6_K, Changes()).parts()]
    assert len(parts) == 4 and sum(shape[0] for shape, _ in parts) == rows
    assert max(size for _, size in parts) == CHUNK_WEIGHTS // 256 * 210


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    large = helpers.float_tensor("token_embd.weight", np.full((96, 64), 1e6))
    model = write_model(tmp_path / "m.gguf", **{"token_embd.weight": large})
    with pytest.raises(UnsupportedError, match="token_embd.weight.*F16.*bf16"):
        convert(model, tmp_path / "f16.gguf", head="f16")


@pytest.mark.parametrize("target", ["m.gguf", "folder"])
def test_verify_finds_a_changed_byte(tmp_path: Path, target: str) -> None:
    path = convert(BITNET, tmp_path / target).path
    verify(BITNET, path)
    file = path if path.is_file() else path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-5000] ^= 0x40
    file.write_bytes(data)
    with pytest.raises(FormatError, match="Verification failed|no ternary weight"):
        verify(BITNET, path)


def test_existing_targets_are_replaced_with_force_alone(tmp_path: Path) -> None:
    for target in ("m.gguf", "folder"):
        convert(BITNET, tmp_path / target)
        with pytest.raises(ArgumentError, match="--force"):
            convert(LLAMA, tmp_path / target)
        convert(LLAMA, tmp_path / target, force=True)
        assert open_checkpoint(tmp_path / target).load().config.architecture == "llama"
    (tmp_path / "folder" / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ArgumentError, match="thesis.txt"):
        convert(BITNET, tmp_path / "folder", force=True)
    assert (tmp_path / "folder" / "thesis.txt").exists()


def test_a_model_is_never_converted_onto_itself(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf")
    (tmp_path / "link.gguf").symlink_to(model)
    before = model.read_bytes()
    for target in (model, tmp_path / "link.gguf"):
        with pytest.raises(ArgumentError, match="is what is to be converted"):
            convert(model, target, force=True)
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "options", "sentence"),
    [
        ("m.gguf", {"type": "q9"}, "'q9' is no type for GGUF"),
        ("folder", {"type": "tq1_0"}, "'tq1_0' is no type for a Hugging Face folder"),
        ("folder", {"split_bytes": 1 << 30}, "Only GGUF files can be split"),
        ("m.gguf", {"split_bytes": 5}, "at least"),
        ("m.gguf", {"head": "f16", "embedding": "f32"}, "one type for both"),
    ],
)
def test_wrong_options_are_one_sentence(tmp_path: Path, target: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        convert(BITNET, tmp_path / target, **options)
    assert not any(tmp_path.iterdir())


def test_no_folder_for_the_target_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere is not there"):
        convert(BITNET, tmp_path / "nowhere" / "m.gguf")


@pytest.mark.parametrize("target", ["m.gguf", "folder"])
def test_an_interrupted_conversion_leaves_nothing_and_the_next_completes(tmp_path: Path, target: str) -> None:
    """The process interrupts itself (SIGINT) in the middle of the third tensor."""
    program = (
        "import os, signal, sys\n"
        "from sterna.checkpoint import convert as c\n"
        "from sterna.cli.main import main\n"
        "real, seen = c._Progress.__call__, []\n"
        "def count(self, size):\n"
        "    real(self, size)\n"
        "    seen.append(size)\n"
        "    if len(seen) == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "c._Progress.__call__ = count\n"
        f"sys.argv = ['sterna', 'convert', {str(BITNET)!r}, {str(tmp_path / target)!r}]\n"
        "main()\n"
    )
    stopped = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr
    assert not any(tmp_path.iterdir())
    verify(BITNET, convert(BITNET, tmp_path / target).path)


def test_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sterna", "convert", str(BITNET), str(tmp_path / "m.gguf"), "--type", "tq2_0"]
    done = subprocess.run([*command, "--verify", "--json"], capture_output=True, text=True, timeout=120)
    fields = json.loads(done.stdout)
    assert done.returncode == 0 and done.stderr == "" and fields["types"]["tq2_0"] == 21
    assert fields["path"] == str(tmp_path / "m.gguf") and 0 < fields["scale_change"] < 2**-11
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 2 and "--force" in again.stderr and len(again.stderr.splitlines()) == 1
