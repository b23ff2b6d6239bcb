"""From GGUF metadata and tensors to a checked model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sterna.checkpoint import open_checkpoint
from sterna.errors import FormatError, NotFoundError, SternaError, UnsupportedError
from sterna.files.gguf import write_gguf
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

from . import helpers
from .mutate import Corpus

LLAMA = replace(helpers.TINY, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False)


def test_golden_configurations() -> None:
    bitnet = open_checkpoint(helpers.DATA / helpers.GOLDEN["bitnet-b1.58"][0]).load().config
    assert (bitnet.hidden_size, bitnet.intermediate_size, bitnet.num_layers) == (256, 768, 3)
    assert (bitnet.num_heads, bitnet.num_kv_heads, bitnet.head_dim, bitnet.vocab_size) == (4, 2, 64, 512)
    assert (bitnet.architecture, bitnet.activation, bitnet.rope_style) == ("bitnet-b1.58", "relu2", "half")
    assert bitnet.tied_head and bitnet.rope_theta == 500000 and bitnet.rms_norm_eps == np.float32(1e-5)
    llama = open_checkpoint(helpers.DATA / helpers.GOLDEN["llama"][0]).load().config
    assert (llama.architecture, llama.activation, llama.rope_style) == ("llama", "silu", "interleaved")
    assert not llama.tied_head


QWEN3 = replace(helpers.QWEN3, rope_attention_factor=1.0)


@pytest.mark.parametrize("config", [helpers.TINY, LLAMA, QWEN3], ids=lambda config: config.architecture)
@pytest.mark.parametrize("input_norms", [False, True])
def test_written_model_reads_back(tmp_path: Path, config: Any, input_norms: bool) -> None:
    tensors = helpers.tiny_tensors(config, input_norms=input_norms)
    write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(config), tensors.values())
    checkpoint = open_checkpoint(tmp_path / "m.gguf").load()
    assert checkpoint.config == replace(config, rms_norm_eps=float(np.float32(config.rms_norm_eps)))
    assert helpers.dump_tensors(checkpoint.tensors) == helpers.dump_tensors(tensors)


def test_gemma3_is_local_only_where_the_file_has_a_window(tmp_path: Path) -> None:
    """Also, the 27B model of Gemma 3 scales queries by a size other than the head's."""
    config = replace(helpers.GEMMA3, num_layers=7)
    tensors = helpers.tiny_tensors(config)
    for keys, local in (
        ({}, ()),
        ({"attention.sliding_window": 64}, (0, 1, 2, 3, 4, 6)),
        ({"attention.sliding_window": 64, "attention.sliding_window_pattern": 3}, (0, 1, 3, 4, 6)),
        ({"attention.sliding_window": 64, "attention.sliding_window_pattern": 1}, ()),
    ):
        metadata = helpers.gguf_metadata(config) | {f"gemma3.{key}": value for key, value in keys.items()}
        write_gguf(tmp_path / "m.gguf", metadata, tensors.values())
        read = open_checkpoint(tmp_path / "m.gguf").load().config
        assert read.sliding_layers == local and read.sliding_window == keys.get("attention.sliding_window")
        assert (read.embedding_scale, read.activation, read.query_scale) == (8.0, "gelu", None)
        assert read.attention_scale == 48**-0.5
    large = replace(config, num_layers=62)
    write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(large), helpers.tiny_tensors(large).values())
    assert open_checkpoint(tmp_path / "m.gguf").load().config.attention_scale == 16**-0.5


def renamed(name: str, **keys: Any) -> dict[str, Any]:
    """TINY's metadata under another architecture, with more keys below it."""
    metadata = {key.replace(helpers.TINY.architecture, name): value for key, value in helpers.gguf_metadata().items()}
    extra = {f"{name}.{key}": value for key, value in keys.items()}
    return metadata | {"general.architecture": name} | extra


@pytest.mark.parametrize(
    ("metadata", "activation"),
    [
        (renamed("bitnet-25"), "relu2"),
        (renamed("bitnet"), "silu"),
        (renamed("bitnet", hidden_activation="relu2"), "relu2"),
        (renamed("bitnet-b1.58", hidden_activation="silu"), "silu"),
    ],
)
def test_activation_of_the_bitnet_family(tmp_path: Path, metadata: dict[str, Any], activation: str) -> None:
    write_gguf(tmp_path / "m.gguf", metadata, helpers.tiny_tensors().values())
    assert open_checkpoint(tmp_path / "m.gguf").load().config.activation == activation


def test_bitnet_with_the_vocabulary_of_2b4t_means_relu2(tmp_path: Path) -> None:
    config = replace(helpers.TINY, vocab_size=128256)
    metadata = renamed("bitnet") | {"bitnet.vocab_size": 128256}
    write_gguf(tmp_path / "m.gguf", metadata, helpers.tiny_tensors(config).values())
    assert open_checkpoint(tmp_path / "m.gguf").load().config.activation == "relu2"


def test_head_of_its_own_is_ignored_for_bitnet_and_used_for_llama(tmp_path: Path) -> None:
    head = helpers.float_tensor("output.weight", np.ones((96, 64)))
    write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(), [*helpers.tiny_tensors().values(), head])
    checkpoint = open_checkpoint(tmp_path / "m.gguf").load()
    assert checkpoint.config.tied_head and "output.weight" not in checkpoint.tensors
    tied = replace(LLAMA, tied_head=True)
    write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(tied), helpers.tiny_tensors(tied).values())
    assert open_checkpoint(tmp_path / "m.gguf").load().config.tied_head


def test_scale_tensors_of_older_files_multiply(tmp_path: Path) -> None:
    tensors = helpers.tiny_tensors()
    scale = helpers.float_tensor("blk.0.attn_q.scale", np.array([0.5]))
    write_gguf(tmp_path / "m.gguf", renamed("bitnet"), [*tensors.values(), scale])
    read = open_checkpoint(tmp_path / "m.gguf").load().tensors
    assert read["blk.0.attn_q.weight"].scale == tensors["blk.0.attn_q.weight"].scale / 2
    assert read["blk.0.attn_k.weight"].scale == tensors["blk.0.attn_k.weight"].scale
    assert "blk.0.attn_q.scale" not in read


def test_norms_come_out_in_float32(tmp_path: Path) -> None:
    tensors = helpers.tiny_tensors()
    tensors["output_norm.weight"] = helpers.float_tensor("output_norm.weight", np.full(64, 0.5), Encoding.F16)
    write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(), tensors.values())
    norm = open_checkpoint(tmp_path / "m.gguf").load().tensors["output_norm.weight"]
    assert norm.encoding is Encoding.F32 and np.array_equal(norm.data.view(np.float32), np.full(64, 0.5))


@pytest.mark.parametrize(
    ("keys", "error", "sentence"),
    [
        ({"rope.scaling.type": "longrope"}, UnsupportedError, "longrope"),
        ({"rope.scaling.type": "yarn", "rope.scaling.factor": -8.0}, FormatError, "rope.scaling.factor"),
        ({"rope.scaling.factor": 1e30}, FormatError, "RoPE"),
        (
            {"rope.scaling.type": "yarn", "rope.scaling.original_context_length": float("nan")},
            FormatError,
            "yarn",
        ),
        ({"rope.scaling.attn_factor": float("inf")}, FormatError, "rope_attention_factor"),
        ({"rope.dimension_count": 8}, UnsupportedError, "rope.dimension_count"),
        ({"expert_count": 8}, UnsupportedError, "expert_count"),
        ({"hidden_activation": "gelu"}, UnsupportedError, "gelu"),
        ({"attention.head_count_kv": np.array([2, 4])}, UnsupportedError, "list"),
        ({"attention.head_count_kv": 3}, FormatError, "share 3"),
        ({"attention.head_count": 0}, FormatError, "num_heads"),
        ({"attention.key_length": 15}, FormatError, "odd"),
        ({"attention.key_length": 32}, FormatError, "heads x head size"),
        ({"block_count": 1 << 31}, FormatError, "num_layers"),
        ({"block_count": "two"}, FormatError, "no number"),
        ({"block_count": 3}, FormatError, "no tensor 'blk.2.attn_norm.weight'"),
        ({"block_count": 1}, UnsupportedError, "blk.1."),
        ({"embedding_length": 1 << 40}, FormatError, "hidden_size"),
        ({"embedding_length": -64}, FormatError, "whole number"),
        ({"feed_forward_length": 128}, FormatError, "has the shape"),
        ({"vocab_size": 95}, FormatError, "vocabulary size 95"),
        ({"context_length": 0}, FormatError, "context_length"),
        ({"attention.layer_norm_rms_epsilon": float("nan")}, FormatError, "rms_norm_eps"),
        ({"attention.layer_norm_rms_epsilon": 0.0}, FormatError, "rms_norm_eps"),
        ({"rope.freq_base": float("inf")}, FormatError, "rope_theta"),
    ],
)
def test_configuration_that_cannot_run_is_refused(
    tmp_path: Path, keys: dict[str, Any], error: type[SternaError], sentence: str
) -> None:
    write_gguf(tmp_path / "m.gguf", renamed("bitnet-b1.58", **keys), helpers.tiny_tensors().values())
    with pytest.raises(error, match=sentence) as caught:
        open_checkpoint(tmp_path / "m.gguf").load()
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("missing", ["general.architecture", "bitnet-b1.58.block_count", "bitnet-b1.58.context_length"])
def test_missing_key_is_named(tmp_path: Path, missing: str) -> None:
    metadata = helpers.gguf_metadata()
    del metadata[missing]
    write_gguf(tmp_path / "m.gguf", metadata, helpers.tiny_tensors().values())
    with pytest.raises(SternaError, match=missing.split(".")[-1]):
        open_checkpoint(tmp_path / "m.gguf").load()


def test_tensors_that_cannot_run_are_refused(tmp_path: Path) -> None:
    tensors = helpers.tiny_tensors()
    cases: list[tuple[Tensor, type[SternaError], str]] = [
        (helpers.float_tensor("blk.0.attn_q.bias", np.ones(64)), UnsupportedError, "attn_q.bias"),
        (helpers.float_tensor("rope_freqs.weight", np.ones(7)), FormatError, "rope_freqs"),
        (helpers.float_tensor("rope_freqs.weight", np.zeros(8)), FormatError, "RoPE"),
        (helpers.float_tensor("blk.0.ffn_up.scale", np.array([np.inf])), FormatError, "finite"),
        (helpers.float_tensor("blk.0.ffn_up.scale", np.ones(2)), FormatError, "one float32"),
        (helpers.float_tensor("output_norm.weight", np.ones(32)), FormatError, "shape"),
    ]
    for tensor, error, sentence in cases:
        write_gguf(tmp_path / "m.gguf", helpers.gguf_metadata(), (tensors | {tensor.name: tensor}).values())
        with pytest.raises(error, match=sentence):
            open_checkpoint(tmp_path / "m.gguf").load()


def test_tensor_type_that_sterna_does_not_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, helpers.gguf_metadata(), [helpers.float_tensor("token_embd.weight", np.ones((96, 64)))])
    name = b"token_embd.weight"
    data = path.read_bytes()
    at = data.index(name) + len(name) + 4 + 2 * 8  # the type comes after the number of dimensions and two of them
    path.write_bytes(data[:at] + bytes([39]) + data[at + 1 :])
    with pytest.raises(UnsupportedError, match="'token_embd.weight' has the type .*MXFP4"):
        open_checkpoint(path).load()


def test_vocabulary_without_a_model_is_refused() -> None:
    with pytest.raises(SternaError, match="cannot be run"):
        open_checkpoint(helpers.shared("vocab", "ggml-vocab-llama-spm.gguf")).load()


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is a text, and no model." * 10)
    with pytest.raises(FormatError, match="GGUF"):
        open_checkpoint(tmp_path / "text").load()
    with pytest.raises(NotFoundError, match="cannot be read"):
        open_checkpoint(tmp_path / "nothing").load()
    with pytest.raises(NotFoundError, match="config.json"):
        open_checkpoint(tmp_path).load()


def test_mutations_load_or_fail_with_our_errors(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_gguf(path, helpers.gguf_metadata(), helpers.tiny_tensors().values())
    corpus = Corpus(path)
    loaded = 0
    for data in corpus.header_mutations(800, seed=1):
        path.write_bytes(data)
        try:
            open_checkpoint(path).load()
            loaded += 1
        except SternaError as error:
            assert str(error).endswith(".") and "\n" not in str(error) and len(str(error)) < 2000
    assert loaded < 400
    for data in corpus.payload_mutations(100):
        path.write_bytes(data)
        assert open_checkpoint(path).load().config.num_layers == 2
