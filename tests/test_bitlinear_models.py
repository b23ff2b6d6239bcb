"""1bitLLM's models and the BitNet embeddings: transformers' bodies with BitLinear modules in place of matrices.

transformers has no class for either. What their own code adds to Llama, Qwen3 and Gemma 3 is the module below.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from safetensors.torch import save_file  # noqa: E402

from sterna import LLM  # noqa: E402
from sterna.checkpoint import open_checkpoint  # noqa: E402
from sterna.errors import FormatError, UnsupportedError  # noqa: E402
from sterna.files.gguf import write_gguf  # noqa: E402
from sterna.tensor.decode import decode  # noqa: E402
from sterna.tensor.encode import encode  # noqa: E402
from sterna.tensor.encodings import Encoding  # noqa: E402

from . import helpers  # noqa: E402
from .hf_folders import random_model  # noqa: E402
from .tiny_vocabularies import byte_level_json  # noqa: E402

TOKENS = np.random.default_rng(5).integers(0, 160, 80).tolist()


class BitLinear(torch.nn.Module):
    """An optional norm, int8 activations by absmax, ternary weights by absmean (arXiv 2402.17764)."""

    def __init__(self, linear: Any, norm: bool, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = linear.weight, eps
        self.norm = torch.nn.Parameter(torch.empty(linear.in_features).uniform_(0.5, 1.5)) if norm else None

    def forward(self, x: Any) -> Any:
        if self.norm is not None:
            x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.norm
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        mean = self.weight.abs().mean().clamp(min=1e-5)
        codes, weight = (x * scale).round().clamp(-128, 127), (self.weight / mean).round().clamp(-1, 1)
        return codes @ weight.T * (mean / scale)


def ternary_model(architecture: str, norms: dict[str, str], **keys: Any) -> tuple[Any, dict[str, Any]]:
    """A model whose layers are made of BitLinear, and its tensors by the names that the published code gives them.

    `norms` maps matrices to the names of the norms before them.
    """
    model = random_model(architecture, "grouped", **keys)
    eps = model.config.rms_norm_eps
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, linear in list(part.named_children()):
                if name.endswith("_proj"):
                    setattr(part, name, BitLinear(linear, name in norms, eps))
    tensors = {}
    for name, value in model.state_dict().items():
        matrix = name.split(".")[-2]
        if name.endswith("_proj.norm"):
            name = name.removesuffix(f"{matrix}.norm") + norms[matrix]
        tensors[name] = value.detach().clone()
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return model.eval(), tensors


def write_folder(folder: Path, model: Any, tensors: dict[str, Any], **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.to_dict() | keys))
    return folder


def their_hidden(model: Any) -> np.ndarray:
    with torch.no_grad():
        hidden: np.ndarray = model.model(torch.tensor([TOKENS])).last_hidden_state[0].numpy()
    return hidden


def assert_same_model(model: Any, llm: LLM) -> None:
    """Hidden rows agree except where int8 rounding flips: with K and V in float32, as in theirs, most agree to 1e-5."""
    theirs = their_hidden(model)
    ours = helpers.oracle(llm.checkpoint, kv_dtype=np.float32).hidden(TOKENS)
    errors = np.abs(theirs - ours).max(axis=1) / np.abs(theirs).max()
    assert np.median(errors) < 1e-5 and errors[0] < 1e-5 and errors.max() < 0.2
    engine = llm.hidden(TOKENS)
    cosines = (theirs * engine).sum(axis=1) / np.linalg.norm(theirs, axis=1) / np.linalg.norm(engine, axis=1)
    assert cosines.min() > 0.99 and np.median(cosines) > 0.999


@pytest.mark.parametrize("tied", [False, True])
def test_models_of_1bitllm(tmp_path: Path, tied: bool) -> None:
    norms = {"o_proj": "inner_attn_ln.weight", "down_proj": "ffn_layernorm.weight"}
    model, tensors = ternary_model("LlamaForCausalLM", norms, tie_word_embeddings=tied)
    classes = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "weight_bits": 1, "input_bits": 8}
    llm = LLM(write_folder(tmp_path, model, tensors, rope_parameters=None, rope_theta=10000.0, **classes))
    assert llm.checkpoint.config.architecture == "bitnet" and llm.checkpoint.config.activation == "silu"
    assert llm.checkpoint.config.tied_head is tied
    assert_same_model(model, llm)
    with torch.no_grad():
        logits = model(torch.tensor([TOKENS])).logits[0].numpy()
    assert helpers.mean_kl(logits, llm.logits(TOKENS)) < 1e-2


MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
EMBEDDINGS = {
    "Qwen3ForCausalLM": ("Qwen3Model", {"head_dim": 32}),
    "Gemma3ForCausalLM": ("Gemma3TextModel", {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 128}),
}


def embedding_model(architecture: str) -> tuple[Any, dict[str, Any]]:
    """A BitNet embedding model as on the hub: without a head, and without `model.` before the names."""
    norms = {matrix: f"{matrix}.norm.weight" for matrix in MATRICES}
    keys = EMBEDDINGS[architecture][1] | {"tie_word_embeddings": True}
    model, tensors = ternary_model(architecture, norms, **keys)
    return model, {name.removeprefix("model."): value for name, value in tensors.items()}


@pytest.mark.parametrize("architecture", EMBEDDINGS)
def test_bitnet_embeddings(tmp_path: Path, architecture: str) -> None:
    model, tensors = embedding_model(architecture)
    llm = LLM(write_folder(tmp_path, model, tensors, architectures=[EMBEDDINGS[architecture][0]]))
    assert llm.checkpoint.tensors["blk.0.attn_q.weight"].encoding is Encoding.I2_S
    assert_same_model(model, llm)
    (vector,) = llm.embed([TOKENS])
    last = their_hidden(model)[-1]
    assert vector @ last / np.linalg.norm(last) > 0.99 and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)

    # The same in GGUF: ternary matrices, everything else in float16, the head size in `attention.key_length`.
    checkpoint = llm.checkpoint
    file = [
        tensor if tensor.encoding is Encoding.I2_S else encode(name, decode(tensor), Encoding.F16)
        for name, tensor in checkpoint.tensors.items()
    ]
    metadata = helpers.gguf_metadata(checkpoint.config)
    # Where a converter writes no window, all layers are global. This window is longer than TOKENS, so a local layer
    # differs from a global one only in its theta.
    metadata |= {"gemma3.attention.sliding_window": 128} if architecture.startswith("Gemma") else {}
    write_gguf(tmp_path / "m.gguf", metadata, file)
    (same,) = LLM(tmp_path / "m.gguf").embed([TOKENS])
    assert vector @ same > 0.999


def test_input_norms_come_for_all_matrices_or_for_none(tmp_path: Path) -> None:
    model, tensors = embedding_model("Qwen3ForCausalLM")
    del tensors["layers.1.mlp.up_proj.norm.weight"]
    write_folder(tmp_path, model, tensors, architectures=["Qwen3Model"])
    with pytest.raises(FormatError, match="up_proj"):
        open_checkpoint(tmp_path).load()


def test_pooling_is_the_folders(tmp_path: Path) -> None:
    model, tensors = embedding_model("Qwen3ForCausalLM")
    folder = write_folder(tmp_path, model, tensors, architectures=["Qwen3Model"])
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / "config.json"
    rows = LLM(folder).hidden(TOKENS)
    for modes, expected in (
        ({"pooling_mode_cls_token": False, "pooling_mode_lasttoken": True}, rows[-1]),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, rows.mean(axis=0)),
    ):
        pooling.write_text(json.dumps({"word_embedding_dimension": 64} | modes))
        (vector,) = LLM(folder).embed([TOKENS])
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True}))
    with pytest.raises(UnsupportedError, match="cls"):
        LLM(folder).embed([TOKENS])


def test_texts_that_are_embedded_end_as_the_tokenizer_says(tmp_path: Path) -> None:
    model, tensors = embedding_model("Qwen3ForCausalLM")
    vocabulary = json.loads(byte_level_json(bos=False))
    end = next(token for token in vocabulary["added_tokens"] if token["content"] == "<|end_of_text|>")
    model.resize_token_embeddings(512)
    tensors["embed_tokens.weight"] = model.model.embed_tokens.weight.detach().clone()
    folder = write_folder(tmp_path, model, tensors, architectures=["Qwen3Model"])
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    llm = LLM(folder)
    assert llm.tokenizer.suffix_id is None
    assert np.array_equal(llm.embed(["a dark night"]), llm.embed([llm.tokenizer.encode("a dark night")]))

    pieces = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end["content"], "type_id": 0}}]
    special = {end["content"]: {"id": end["content"], "ids": [end["id"]], "tokens": [end["content"]]}}
    vocabulary["post_processor"] = {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": [*pieces, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": special,
    }
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    llm = LLM(folder)
    ids = llm.tokenizer.encode("a dark night")
    assert llm.tokenizer.suffix_id == end["id"] not in ids
    assert np.array_equal(llm.embed(["a dark night"]), llm.embed([[*ids, end["id"]]]))
