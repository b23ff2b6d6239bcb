"""Full-precision models of every architecture against `transformers`: folders, GGUF files, context scalings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from sterna import LLM  # noqa: E402
from sterna.checkpoint import Checkpoint, open_checkpoint  # noqa: E402
from sterna.files.gguf import write_gguf  # noqa: E402
from sterna.tensor.decode import decode  # noqa: E402
from sterna.tensor.encode import encode  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402
from sterna.tensor.tensor import Tensor  # noqa: E402

from . import helpers  # noqa: E402
from .hf_folders import random_model, save  # noqa: E402

TOKENS = np.random.default_rng(5).integers(0, 160, 100).tolist()
LINEAR = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 500.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 500.0}
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 48, "sliding_window": 128, "num_hidden_layers": 3}
DELTA_NET = {
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "grouped", {"head_dim": 32}),
    "llama tied": ("LlamaForCausalLM", "one-kv", {"tie_word_embeddings": True}),
    "llama linear": ("LlamaForCausalLM", "grouped", {"rope_parameters": LINEAR}),
    "llama llama3": ("LlamaForCausalLM", "all-kv", {"rope_parameters": LLAMA3}),
    "llama yarn": ("LlamaForCausalLM", "grouped", {"rope_parameters": YARN, "max_position_embeddings": 32}),
    "llama yarn mscale": (
        "LlamaForCausalLM",
        "all-kv",
        {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5, "beta_fast": 16, "truncate": False}},
    ),
    "mistral": ("MistralForCausalLM", "grouped", {"head_dim": 32, "sliding_window": 128}),
    "qwen2": ("Qwen2ForCausalLM", "grouped", {}),
    "qwen2 tied": ("Qwen2ForCausalLM", "all-kv", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", "grouped", {"head_dim": 32}),
    "qwen3 tied": ("Qwen3ForCausalLM", "one-kv", {"head_dim": 128, "tie_word_embeddings": True}),
    "qwen3 yarn": ("Qwen3ForCausalLM", "all-kv", {"head_dim": 32, "rope_parameters": YARN}),
    "qwen35": ("Qwen3_5ForCausalLM", "grouped", DELTA_NET | {"full_attention_interval": 2}),
    "qwen35 tied": (
        "Qwen3_5ForCausalLM",
        "one-kv",
        DELTA_NET | {"layer_types": ["full_attention", "linear_attention"], "tie_word_embeddings": True},
    ),
    "gemma3": ("Gemma3ForCausalLM", "grouped", GEMMA | {"layer_types": None, "sliding_window_pattern": 2}),
    "gemma3 scaled": (
        "Gemma3ForCausalLM",
        "one-kv",
        GEMMA
        | {
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {
                "full_attention": LINEAR | {"rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
    ),
}


def their_logits(model: Any) -> np.ndarray:
    with torch.no_grad():
        logits: np.ndarray = model.eval()(torch.tensor([TOKENS])).logits[0].float().numpy()
    return logits


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """q or k as GGUF's `llama` files keep it: dimensions that rotate together lie side by side."""
    pairs = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(pairs).reshape(weight.shape)


def write_as_gguf(path: Path, checkpoint: Checkpoint, encoding: Encoding, **keys: Any) -> None:
    """Writes the GGUF file that llama.cpp's converter makes of a folder."""
    config = checkpoint.config
    heads = {"attn_q.weight": config.num_heads, "attn_k.weight": config.num_kv_heads}
    tensors: list[Tensor] = []
    for name, tensor in checkpoint.tensors.items():
        values = decode(tensor)
        count = heads.get(name.split(".", 2)[-1])
        if count and config.architecture == "llama":
            values = interleaved(values, count)
        tensors.append(encode(name, values, encoding if values.ndim == 2 else Encoding.F32))
    if config.rope_divisors is not None and "rope.scaling.type" not in keys:
        tensors.append(encode("rope_freqs.weight", np.array(config.rope_divisors), Encoding.F32))
    prefix = config.architecture
    write_gguf(path, helpers.gguf_metadata(config) | {f"{prefix}.{key}": value for key, value in keys.items()}, tensors)


@pytest.mark.parametrize("case", CASES)
def test_folder_gives_the_logits_of_transformers(tmp_path: Path, case: str) -> None:
    architecture, shape, keys = CASES[case]
    model = random_model(architecture, shape, **keys)
    save(tmp_path, model, None, packed=False)
    theirs = their_logits(model)
    llm = LLM(tmp_path)
    assert llm.context_length == 128
    # transformers keeps K and V in float32 here, the engine in float16.
    oracle = helpers.oracle(llm.checkpoint, kv_dtype=np.float32).logits(TOKENS)
    assert helpers.relative_error(theirs, oracle) < 1e-4
    ours = llm.logits(TOKENS)
    assert helpers.mean_kl(theirs, ours) < 1e-5 and helpers.relative_error(theirs, ours) < 5e-3


@pytest.mark.parametrize(
    ("case", "keys"),
    [
        ("llama", {}),
        ("llama linear", {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
        ("llama linear", {"rope.scale_linear": 4.0}),
        ("llama llama3", {}),
        (
            "llama yarn",
            {
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 32,
            },
        ),
        ("mistral", {"attention.sliding_window": 128}),
        ("qwen2", {}),
        ("qwen3", {}),
        ("gemma3", {"attention.sliding_window": 128, "attention.sliding_window_pattern": 2}),
    ],
)
@pytest.mark.parametrize("encoding", [Encoding.F32, Encoding.BF16, Encoding.Q8_0])
def test_gguf_file_gives_the_logits_of_its_folder(
    tmp_path: Path, case: str, keys: dict[str, Any], encoding: Encoding
) -> None:
    architecture, shape, model_keys = CASES[case]
    model_keys = model_keys | ({"query_pre_attn_scalar": 32} if case == "gemma3" else {})
    save(tmp_path, random_model(architecture, shape, **model_keys), None, packed=False)
    folder = open_checkpoint(tmp_path).load()
    if keys.keys() & {"rope.scaling.type", "rope.scale_linear"}:
        keys = {"rope.scaling.type": "linear"} | keys
    write_as_gguf(tmp_path / "m.gguf", folder, encoding, **keys)

    file = open_checkpoint(tmp_path / "m.gguf").load()
    style = "interleaved" if folder.config.architecture == "llama" else "half"
    same = replace(
        file.config,
        rms_norm_eps=folder.config.rms_norm_eps,
        rope_style="half",
        rope_divisors=folder.config.rope_divisors,
    )
    assert same == folder.config and file.config.rope_style == style
    np.testing.assert_allclose(file.config.rope_frequencies(1), folder.config.rope_frequencies(1), rtol=1e-6)
    expected, got = LLM(tmp_path).logits(TOKENS), LLM(file).logits(TOKENS)
    assert helpers.mean_kl(expected, got) < {Encoding.F32: 1e-6, Encoding.BF16: 1e-3, Encoding.Q8_0: 1e-2}[encoding]


WINDOWED: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "mistral": ("MistralForCausalLM", {"sliding_window": 33}, (0, 1)),
    "gemma3": ("Gemma3ForCausalLM", GEMMA | {"sliding_window": 33, "sliding_window_pattern": 2}, (0, 2)),
    "qwen2": ("Qwen2ForCausalLM", {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1}, (1,)),
    "qwen3": ("Qwen3ForCausalLM", {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1}, (1,)),
}
"""Class, configuration, and the layers with a window, which is a third of TOKENS long."""


@pytest.mark.parametrize("case", WINDOWED)
def test_windowed_layers_see_their_window_to_the_full_context(tmp_path: Path, case: str) -> None:
    architecture, keys, layers = WINDOWED[case]
    model = random_model(architecture, "grouped", **keys)
    save(tmp_path, model, None, packed=False)
    llm = LLM(tmp_path, kv="f32")
    config = llm.checkpoint.config
    assert (llm.context_length, config.sliding_window, config.sliding_layers) == (128, 33, layers)
    theirs = their_logits(model)
    assert helpers.relative_error(theirs, llm.logits(TOKENS)) < 1e-4
    assert helpers.relative_error(theirs, helpers.oracle(llm.checkpoint, kv_dtype=np.float32).logits(TOKENS)) < 1e-4
    (completion,) = llm.complete([TOKENS], max_tokens=20, ignore_eos=True)
    with torch.no_grad():
        ids = torch.tensor([[*TOKENS, *completion.token_ids]])
        logits = model(ids).logits[0, len(TOKENS) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    assert (logits.max(dim=1).values - chosen).max() < 1e-3 * logits.std()


def test_a_window_counts_only_where_it_is_used(tmp_path: Path) -> None:
    for index, (architecture, keys) in enumerate(
        [
            ("MistralForCausalLM", {"sliding_window": None}),
            ("Qwen3ForCausalLM", {"sliding_window": 48, "use_sliding_window": False}),
        ]
    ):
        save(tmp_path / str(index), random_model(architecture, "grouped", **keys), None, packed=False)
        config = open_checkpoint(tmp_path / str(index)).load().config
        assert (config.sliding_window, config.sliding_layers) == (None, ())


def test_weights_in_bfloat16(tmp_path: Path) -> None:
    model = random_model("Qwen3ForCausalLM", "grouped")
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    save(tmp_path, model, None, packed=False)
    assert open_checkpoint(tmp_path).load().tensors["blk.0.attn_q.weight"].encoding is Encoding.BF16
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.float32)
    assert helpers.mean_kl(their_logits(model), LLM(tmp_path).logits(TOKENS)) < 1e-5
