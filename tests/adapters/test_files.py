"""Adapters in files: folders of PEFT and GGUF files, written and read, whole and hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from sterna import LLM
from sterna.checkpoint.adapters import Adapter, LowRank, read_adapter
from sterna.checkpoint.adapters.convert import convert_adapter
from sterna.checkpoint.adapters.gguf import write_adapter_gguf
from sterna.errors import ArgumentError, FormatError, NotFoundError, SternaError, UnsupportedError
from sterna.files.gguf.reader import read_gguf
from sterna.files.gguf.writer import write_gguf
from sterna.tensor.decode import decode
from sterna.tensor.recode import interleaved_order

from ..helpers import DATA, QWEN3, TINY, float_tensor, relative_error
from ..hf_folders import random_model, save
from .random_adapters import random_adapter, saved

LLAMA = replace(TINY, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False)
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


def same(one: Adapter, other: Adapter, exact: bool = True) -> bool:
    """Whether two adapters have the same updates; unless `exact`, as far as float32 allows."""
    pairs = [(one.updates[name], other.updates[name]) for name in one.updates]
    close = np.array_equal if exact else np.allclose
    return one.updates.keys() == other.updates.keys() and all(
        np.array_equal(a.a, b.a) and close(a.b * np.float32(a.scale), b.b * np.float32(b.scale)) for a, b in pairs
    )


def mixed_adapter() -> Adapter:
    """Ranks and scales differ, and not all layers have all matrices."""
    adapter = random_adapter(LLAMA, rank=4, scale=2.0)
    updates = dict(adapter.updates) | dict(random_adapter(LLAMA, 3, ("attn_k", "ffn_down"), 7, 0.3, (1,)).updates)
    del updates["blk.0.attn_v.weight"]
    return Adapter(updates, "somebody/model")


@pytest.mark.parametrize("adapter", [random_adapter(LLAMA, scale=2.0), mixed_adapter()], ids=["alike", "mixed"])
def test_what_is_written_is_read_again(adapter: Adapter, tmp_path: Path) -> None:
    folder = saved(tmp_path / "peft", adapter, LLAMA)
    read = read_adapter(folder, LLAMA)
    assert same(adapter, read) and read.base == adapter.base
    write_adapter_gguf(tmp_path / "x.gguf", adapter, LLAMA, "llama", "x")
    read = read_adapter(tmp_path / "x.gguf", LLAMA)
    assert same(adapter, read, exact=False) and read.base == adapter.base
    assert same(adapter, read_adapter(folder / "adapter_config.json", LLAMA))


def test_gguf_has_the_form_of_llama_cpp(tmp_path: Path) -> None:
    adapter = random_adapter(LLAMA, targets=("attn_q", "attn_v"), rank=4, scale=2.0, layers=(0,))
    write_adapter_gguf(tmp_path / "x.gguf", adapter, LLAMA, "llama", "x")
    file = read_gguf(tmp_path / "x.gguf")
    wanted = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 8.0,
    }
    assert wanted.items() <= file.metadata.items()
    assert list(file.tensors) == [f"blk.0.{name}.weight.lora_{half}" for name in ("attn_q", "attn_v") for half in "ab"]
    q, v = adapter.updates["blk.0.attn_q.weight"], adapter.updates["blk.0.attn_v.weight"]
    values = {name: decode(tensor) for name, tensor in file.tensors.items()}
    heads = q.b.reshape(LLAMA.num_heads, 2, LLAMA.head_dim // 2, 4).swapaxes(1, 2).reshape(q.b.shape)
    assert np.array_equal(values["blk.0.attn_q.weight.lora_a"], q.a)
    assert np.array_equal(values["blk.0.attn_q.weight.lora_b"], heads)
    assert np.array_equal(heads, q.b[interleaved_order(len(q.b), LLAMA.head_dim)])
    assert np.array_equal(values["blk.0.attn_v.weight.lora_b"], v.b)


def test_alpha_of_zero_means_no_scaling_to_llama_cpp(tmp_path: Path) -> None:
    a, b = np.ones((2, 64), np.float32), np.ones((64, 2), np.float32)
    tensors = [float_tensor("blk.0.attn_output.weight.lora_a", a), float_tensor("blk.0.attn_output.weight.lora_b", b)]
    metadata = {"general.architecture": "bitnet", "general.type": "adapter", "adapter.type": "lora"}
    write_gguf(tmp_path / "x.gguf", metadata | {"adapter.lora.alpha": 0.0}, tensors)
    assert read_adapter(tmp_path / "x.gguf", TINY).updates["blk.0.attn_output.weight"].scale == 1.0
    zero = Adapter({"blk.0.attn_output.weight": LowRank(a, b, 0.0)})
    write_adapter_gguf(tmp_path / "y.gguf", zero, TINY, "bitnet", "y")
    assert not read_adapter(tmp_path / "y.gguf", TINY).updates["blk.0.attn_output.weight"].delta().any()


def peft_model(folder: Path, architecture: str = "LlamaForCausalLM", **keys: Any) -> Any:
    """A random float model, saved in a folder, with random adapters made by PEFT itself."""
    from peft import LoraConfig, get_peft_model

    model = random_model(architecture, "grouped", tie_word_embeddings=False)
    save(folder, model, None, packed=False)
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj", "down_proj", "lm_head"]} | keys
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **given))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def torch_logits(model: Any, ids: list[int]) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = model(torch.tensor([ids])).logits[0].numpy()
    return logits


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"k_proj": 3, "layers.1.self_attn.q_proj": 6}, "alpha_pattern": {r".*\.0\..*q_proj": 5}},
        {"target_modules": ["v_proj", "gate_proj"], "layers_to_transform": [1]},
        {"target_modules": r".*\.(up|o)_proj", "lora_alpha": 3},
    ],
    ids=["plain", "rslora", "patterns", "a layer", "regex"],
)
def test_what_peft_writes_is_run_as_peft_runs_it(keys: dict[str, Any], tmp_path: Path) -> None:
    model, ids = peft_model(tmp_path / "base", **keys), list(range(3, 40))
    model.save_pretrained(tmp_path / "adapter")
    with LLM(tmp_path / "base", kv="f32", adapters={"x": tmp_path / "adapter"}) as llm:
        assert relative_error(torch_logits(model, ids), llm.logits(ids, adapter="x")) < 2e-5
        with model.disable_adapter():
            assert relative_error(torch_logits(model, ids), llm.logits(ids)) < 2e-5


def test_peft_loads_what_is_written_with_the_same_logits(tmp_path: Path) -> None:
    from peft import PeftModel

    keys = {"rank_pattern": {"k_proj": 3}, "alpha_pattern": {"q_proj": 5}, "use_rslora": True}
    made, ids = peft_model(tmp_path / "base", **keys), list(range(3, 40))
    expected = torch_logits(made, ids)
    made.save_pretrained(tmp_path / "adapter")
    with LLM(tmp_path / "base") as llm:
        config = llm.checkpoint.config
    convert_adapter(tmp_path / "adapter", tmp_path / "x.gguf", tmp_path / "base")
    convert_adapter(tmp_path / "x.gguf", tmp_path / "back", tmp_path / "base")
    for folder in (saved(tmp_path / "out", read_adapter(tmp_path / "adapter", config), config), tmp_path / "back"):
        loaded = PeftModel.from_pretrained(made.unload(), folder)
        assert relative_error(expected, torch_logits(loaded, ids)) < 1e-5
        made = loaded


def test_an_adapter_is_converted_for_a_base_in_gguf(tmp_path: Path) -> None:
    base = DATA / "tiny-llama-i2_s.gguf"
    with LLM(base) as llm:
        config, ids = llm.checkpoint.config, list(range(30))
        adapter = random_adapter(config, scale=0.5)
        folder = saved(tmp_path / "peft", adapter, config)
        assert convert_adapter(folder, tmp_path / "x.gguf", base) == tmp_path / "x.gguf"
        llm.load_adapter("folder", folder)
        llm.load_adapter("file", tmp_path / "x.gguf")
        assert np.array_equal(llm.logits(ids, adapter="folder"), llm.logits(ids, adapter="file"))
    with pytest.raises(ArgumentError, match="--force"):
        convert_adapter(folder, tmp_path / "x.gguf", base)
    convert_adapter(folder, tmp_path / "x.gguf", base, force=True)
    with pytest.raises(ArgumentError, match="what is to be converted"):
        convert_adapter(folder, folder, base, force=True)


CONFIG_FAULTS: dict[str, tuple[dict[str, Any], type[SternaError], str]] = {
    "dora": ({"use_dora": True}, UnsupportedError, "DoRA"),
    "other method": ({"peft_type": "IA3"}, UnsupportedError, "IA3"),
    "no method": ({"peft_type": None}, UnsupportedError, "peft_type"),
    "whole matrices": ({"modules_to_save": ["lm_head"]}, UnsupportedError, "modules_to_save"),
    "biases": ({"bias": "lora_only"}, UnsupportedError, "bias"),
    "a bias of B": ({"lora_bias": True}, UnsupportedError, "lora_bias"),
    "pissa": ({"init_lora_weights": "pissa_niter_4"}, UnsupportedError, "pissa"),
    "transposed": ({"fan_in_fan_out": True}, UnsupportedError, "fan_in_fan_out"),
    "the future": ({"use_magic": 1}, UnsupportedError, "use_magic"),
    "one is no true": ({"init_lora_weights": 1}, UnsupportedError, "init_lora_weights"),
    "another rank": ({"r": 6}, FormatError, "rank"),
    "no rank": ({"r": None}, FormatError, "r is None"),
    "text for alpha": ({"lora_alpha": "8"}, FormatError, "lora_alpha"),
    "infinite alpha": ({"lora_alpha": 1e400}, FormatError, "not finite"),
    "huge alpha": ({"lora_alpha": 10**400}, FormatError, "larger than any float"),
    "rslora": ({"use_rslora": "yes"}, FormatError, "use_rslora"),
    "patterns": ({"rank_pattern": [1]}, FormatError, "rank_pattern"),
    "endless regex": ({"alpha_pattern": {"(a*)*b": 1}}, UnsupportedError, "alpha_pattern"),
    "many question marks": ({"alpha_pattern": {".?" * 60 + "Z": 1}}, UnsupportedError, "alpha_pattern"),
    "many alternatives": ({"alpha_pattern": {"(.|.)" * 30 + "Z": 1}}, UnsupportedError, "alpha_pattern"),
    "many patterns": ({"alpha_pattern": {f"m.*.*{n}": 1 for n in range(1000)}}, UnsupportedError, "alpha_pattern"),
    "many stars": ({"alpha_pattern": {".*.*.*.*x": 1}}, UnsupportedError, "alpha_pattern"),
    "broken regex": ({"alpha_pattern": {"(q_proj": 1}}, FormatError, "regular expression"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_configs_that_mean_something_else_are_refused_by_name(fault: str, tmp_path: Path) -> None:
    change, error, words = CONFIG_FAULTS[fault]
    folder = saved(tmp_path / "x", random_adapter(TINY, targets=("attn_q",), rank=4), TINY)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(error, match=words) as raised:
        read_adapter(folder, TINY)
    assert str(raised.value).endswith(".") and str(folder) in str(raised.value)


def renamed(old: str, new: str) -> Callable[[dict[str, np.ndarray]], None]:
    """A change of a tensor's name."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[new] = tensors.pop(old)

    return change


def put(name: str, values: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    """A change of a tensor's values."""
    return lambda tensors: tensors.update({name: values})


def without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    """A change that leaves a tensor out."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        del tensors[name]

    return change


A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"
TENSOR_FAULTS: dict[str, tuple[Callable[[dict[str, np.ndarray]], None], type[SternaError], str]] = {
    "only A": (without(B), FormatError, "only one of A and B"),
    "dora": (put(f"{MODULE}.lora_magnitude_vector", np.ones(64, np.float32)), UnsupportedError, "DoRA"),
    "embedding": (
        put("base_model.model.model.embed_tokens.lora_embedding_A", np.ones((4, 96), np.float32)),
        UnsupportedError,
        "embedding",
    ),
    "bias": (put(f"{MODULE}.lora_B.bias", np.ones(64, np.float32)), UnsupportedError, "lora_bias"),
    "whole": (put("base_model.model.model.norm.weight", np.ones(64, np.float32)), UnsupportedError, "norm.weight"),
    "more tokens": (put("base_model.model.lm_head.weight", np.ones((97, 64), np.float32)), UnsupportedError, "tokens"),
    "layer": (renamed(A, A.replace("layers.0", "layers.7")), FormatError, "layers.7"),
    "module": (renamed(A, A.replace("q_proj", "z_proj")), FormatError, "z_proj"),
    "norm": (renamed(A, A.replace("self_attn.q_proj", "input_layernorm")), FormatError, "attn_norm|only one"),
    "path": (renamed(A, A.replace("self_attn", "../..")), FormatError, "does not have"),
    "width": (put(A, np.ones((4, 65), np.float32)), FormatError, "another model"),
    "rank": (put(B, np.ones((64, 5), np.float32)), FormatError, "ranks 4 and 5"),
    "no rank": (put(A, np.ones((0, 64), np.float32)), FormatError, "rank"),
    "infinite": (put(A, np.full((4, 64), np.inf, np.float32)), FormatError, "not finite"),
    "three dimensions": (put(A, np.ones((4, 64, 1), np.float32)), FormatError, "no matrix"),
    "integers": (put(A, np.ones((4, 64), np.int32)), FormatError, "no matrix"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensors_that_do_not_fit_are_refused(fault: str, tmp_path: Path) -> None:
    change, error, words = TENSOR_FAULTS[fault]
    folder = saved(tmp_path / "x", random_adapter(TINY, targets=("attn_q",), rank=4), TINY)
    tensors = dict(load_file(folder / "adapter_model.safetensors"))
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(error, match=words) as raised:
        read_adapter(folder, TINY)
    assert str(raised.value).endswith(".")


def test_pickles_and_what_is_no_adapter_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", random_adapter(TINY, targets=("attn_q",)), TINY)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    for path in (folder, folder / "adapter_model.bin"):
        with pytest.raises(UnsupportedError, match="pickle"):
            read_adapter(path, TINY)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(NotFoundError, match="missing"):
        read_adapter(folder, TINY)
    for path, words in ((tmp_path, "no folder of an adapter"), (tmp_path / "y", "not there")):
        with pytest.raises(NotFoundError, match=words):
            read_adapter(path, TINY)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UnsupportedError, match="no adapter"):
        read_adapter(tmp_path / "x.txt", TINY)
    with pytest.raises(UnsupportedError, match="no LoRA adapter"):
        read_adapter(DATA / "tiny-llama-i2_s.gguf", LLAMA)


@pytest.mark.parametrize(
    "metadata, tensors, words",
    [
        ({"general.architecture": "qwen3"}, {}, "architecture 'qwen3'"),
        ({"general.architecture": 3}, {}, "architecture 3"),
        ({"adapter.type": "control"}, {}, "no LoRA"),
        ({"adapter.type": [1, 2]}, {}, "no LoRA"),
        ({"adapter.alora.invocation_tokens": [1, 2]}, {}, "alora"),
        ({"adapter.lora.alpha": "x"}, {}, "no number"),
        ({"adapter.lora.alpha": float("inf")}, {}, "not finite"),
        ({}, {"blk.0.attn_q.weight": (64, 64)}, "neither an A nor a B"),
        ({}, {"blk.0.attn_q.weight.lora_a": (4, 64)}, "only one"),
        ({}, {"token_embd.weight.lora_a": (4, 64), "token_embd.weight.lora_b": (96, 4)}, "embedding"),
        ({}, {"blk.9.attn_k.weight.lora_a": (4, 64), "blk.9.attn_k.weight.lora_b": (32, 4)}, "blk.9"),
        ({}, {"blk.0.attn_k.weight.lora_a": (4, 64), "blk.0.attn_k.weight.lora_b": (33, 4)}, "33"),
        ({}, {"x.lora_a": (4, 64), "x.lora_b": (64, 4)}, "does not have"),
    ],
)
def test_gguf_adapters_that_do_not_fit_are_refused(
    metadata: dict[str, Any], tensors: dict[str, tuple[int, int]], words: str, tmp_path: Path
) -> None:
    keys = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"} | metadata
    good = {"blk.0.attn_v.weight.lora_a": (4, 64), "blk.0.attn_v.weight.lora_b": (32, 4)} | tensors
    values = [float_tensor(name, np.ones(shape, np.float32)) for name, shape in good.items()]
    write_gguf(tmp_path / "x.gguf", {"adapter.lora.alpha": 8.0} | keys, values)
    with pytest.raises((FormatError, UnsupportedError), match=words) as raised:
        read_adapter(tmp_path / "x.gguf", LLAMA)
    assert str(raised.value).endswith(".")


def test_untidy_names_of_other_programs_are_read(tmp_path: Path) -> None:
    adapter = random_adapter(QWEN3, targets=("attn_q", "ffn_up"), rank=4)
    folder = saved(tmp_path / "x", adapter, QWEN3)
    tensors = load_file(folder / "adapter_model.safetensors")
    older = {name.replace(".weight", ".default.weight"): values for name, values in tensors.items()}
    bare = {name.replace("model.model.model.", "model.model."): values for name, values in tensors.items()}
    for names in (older, bare):
        save_file(names, folder / "adapter_model.safetensors")
        assert same(adapter, read_adapter(folder, QWEN3))


def test_rslora_divides_by_the_root_of_the_rank(tmp_path: Path) -> None:
    folder = saved(tmp_path / "x", random_adapter(TINY, targets=("attn_q",), rank=4, scale=2.0), TINY)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_rslora": True}))
    assert read_adapter(folder, TINY).updates["blk.0.attn_q.weight"].scale == 8 / sqrt(4)


def mutated(data: bytes, seed: str) -> bytes:
    """The bytes with some bits flipped, or without some, or cut short."""
    random = Random(seed)
    at = random.randrange(len(data))
    match random.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at + random.randrange(1, 40) :]
        case 2:
            return data[:at] + random.choice([b'"', b"]", b"-", b"9", b"null", b"\0", b"1e999"]) + data[at + 1 :]
        case _:
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "x.gguf"])
def test_broken_files_are_refused_or_read(name: str, tmp_path: Path) -> None:
    adapter = random_adapter(LLAMA, targets=("attn_q",), rank=4, layers=(0,))
    folder = saved(tmp_path / "x", replace(adapter, base=""), LLAMA)
    write_adapter_gguf(folder / "x.gguf", adapter, LLAMA, "llama", "x")
    place = folder / "x.gguf" if name.endswith(".gguf") else folder
    original, refused = (folder / name).read_bytes(), 0
    header = original if name.endswith(".json") else original[:800]
    for number in range(300):
        (folder / name).write_bytes(mutated(header, f"{name} {number}") + original[len(header) :])
        try:
            read_adapter(place, LLAMA)
        except SternaError as error:
            refused += 1
            assert str(error).endswith(".") and "\n" not in str(error)
    assert refused > 100
