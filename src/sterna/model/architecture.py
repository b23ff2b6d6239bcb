"""The description of an architecture: one value that readers, writers, checks and the plan builder use.

The file of each architecture is in `model/architectures/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sterna.errors import UnsupportedError
from sterna.files.gguf.metadata import Keys
from sterna.model.builder import PlanBuilder
from sterna.model.config import ModelConfig

Fields = dict[str, Any]
"""Fields of ModelConfig by name."""

MATRICES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""The linear matrices of a layer: canonical names, which are GGUF's, and those of Hugging Face folders."""

NORMS = {"attn_norm": ("input_layernorm",), "ffn_norm": ("post_attention_layernorm",)}
"""The norms before attention and feed-forward, and their names in folders."""

INPUT_NORMS = ("rms_norm", "norm")
"""Names in folders of an RMSNorm directly before a matrix, appended to the matrix's name: that of transformers
(`use_rms_norm`), and that of the BitNet embedding models."""

MAX_LAYERS = 1 << 10

EMBEDDING, OUTPUT_NORM, HEAD = "model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"
"""Names in folders of the tensors outside layers."""


@dataclass(frozen=True, eq=False)
class GGUFVariant:
    """The properties that a `general.architecture` implies."""

    activation: str
    rope_style: str = "half"
    tied_head: bool = False
    """The head is the embedding, even if the file holds another."""


@dataclass(frozen=True, eq=False)
class HFClass:
    """The properties that a class in `architectures` of a `config.json` implies where the file does not give them."""

    activation: str
    rope_theta: float = 10000.0
    tied_head: bool = False
    latent: bool = False
    """Float matrices are latent weights: the model's code quantises them in every forward pass."""


def _nothing(*_: Any) -> Fields:
    return {}


def plus_one(values: np.ndarray) -> np.ndarray:
    """The weight of a norm that folders store as w - 1."""
    return values + np.float32(1)


def minus_one(values: np.ndarray) -> np.ndarray:
    """The inverse of `plus_one`."""
    return values - np.float32(1)


@dataclass(frozen=True, eq=False)
class Architecture:
    """A family of decoders: its names and its tensors' names in files, the configuration fields that only it has, and
    its plan."""

    name: str
    """`ModelConfig.architecture`, which is a name of GGUF's."""
    plan: Callable[[PlanBuilder], None]
    gguf: Mapping[str, GGUFVariant]
    """By `general.architecture`."""
    hf: Mapping[str, HFClass]
    """By class in `architectures`."""
    written: tuple[str, str] | None
    """The class and `model_type` of folders that Sterna writes; None: it writes none."""
    norms: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(NORMS))
    """The norms of a layer by canonical name, with the names that folders have for them (the first is written)."""
    matrices: Mapping[str, str] = field(default_factory=lambda: dict(MATRICES))
    """The linear matrices of a layer by canonical name, with the names that folders have for them."""
    biases: tuple[str, ...] = ()
    """The matrices of a layer that have a bias."""
    others: Mapping[str, str] = field(default_factory=dict)
    """The names in folders of a layer's other tensors, by canonical name; both with their endings."""
    shapes: Callable[[ModelConfig, int], dict[str, tuple[int, ...]]] | None = None
    """The shapes of the tensors of one layer, by canonical name without `blk.N.`; None: of the norms, `MATRICES` and
    biases."""
    from_folder: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    """How the values of a folder's tensor, float32, become those of a GGUF file, by canonical name without `blk.N.`;
    the shape stays."""
    to_folder: Mapping[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    """The inverses of `from_folder`."""
    convolutions: tuple[str, ...] = ()
    """The depthwise convolutions of a layer, which folders keep as [channels, 1, width], by canonical name without
    `blk.N.`."""
    passed_over: tuple[str, ...] = ()
    """How the names in folders begin of tensors that are no part of the decoder."""
    partial_rotary: float = 1.0
    """The share of a head that RoPE rotates where a `config.json` does not say; 1: always the whole head."""
    layer_types: tuple[str, ...] = ("sliding_attention", "full_attention")
    """What `layer_types` of a `config.json` may name."""
    gguf_name: Callable[[ModelConfig], str] = lambda config: config.architecture
    """`general.architecture` of a file that Sterna writes."""
    read_gguf: Callable[[Keys, Fields], Fields] = _nothing
    """The architecture's own fields, from a GGUF file's keys and the fields that all architectures have."""
    write_gguf: Callable[[ModelConfig], Mapping[str, Any]] = _nothing
    """The keys, without the architecture's name, from which `read_gguf` reads its fields."""
    read_hf: Callable[[Mapping[str, Any], Fields], Fields] = _nothing
    """The architecture's own fields, from a `config.json` and the fields that all architectures have."""
    write_hf: Callable[[ModelConfig], Mapping[str, Any]] = _nothing
    """The keys from which `read_hf` reads its fields."""

    def layer_shapes(self, config: ModelConfig, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of a layer's tensors, by canonical name without `blk.N.`."""
        if self.shapes is not None:
            return self.shapes(config, layer)
        matrices = matrix_shapes(config)
        widths = {"ffn_sub_norm": config.intermediate_size, "attn_sub_norm": matrices["attn_output"][1]}
        widths |= dict.fromkeys(("attn_q_norm", "attn_k_norm"), config.head_dim)
        shapes: dict[str, tuple[int, ...]] = {
            f"{norm}.weight": (widths.get(norm, config.hidden_size),) for norm in self.norms
        }
        shapes |= {f"{name}.weight": shape for name, shape in matrices.items()}
        return shapes | {f"{name}.bias": matrices[name][:1] for name in self.biases}

    def hf_names(self, num_layers: int) -> dict[str, tuple[str, ...]]:
        """The names of every tensor in a folder, by canonical name; the first is written."""
        layer: dict[str, tuple[str, ...]] = {}
        for name, source in self.matrices.items():
            layer[f"{name}.weight"] = (f"{source}.weight",)
            layer[f"{name}_norm_in.weight"] = tuple(f"{source}.{norm}.weight" for norm in INPUT_NORMS)
            if name in self.biases:
                layer[f"{name}.bias"] = (f"{source}.bias",)
        layer |= {f"{norm}.weight": tuple(f"{name}.weight" for name in names) for norm, names in self.norms.items()}
        layer |= {name: (source,) for name, source in self.others.items()}
        return {
            "token_embd.weight": (EMBEDDING,),
            "output_norm.weight": (OUTPUT_NORM,),
            "output.weight": (HEAD,),
        } | {
            f"blk.{index}.{name}": tuple(f"model.layers.{index}.{source}" for source in sources)
            for index in range(num_layers)
            for name, sources in layer.items()
        }


def layers_by_type(raw: Mapping[str, Any], kind: str = "sliding_attention") -> tuple[int, ...] | None:
    """The layers that `layer_types` of a `config.json` calls `kind`; None where there is no `layer_types`."""
    types = raw.get("layer_types")
    return None if types is None else tuple(index for index, name in enumerate(types) if name == kind)


def check_layer_types(raw: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises UnsupportedError where `layer_types` of a `config.json` is no list of `known` names."""
    types = raw.get("layer_types")
    if types is None:
        return
    if not isinstance(types, list) or len(types) > MAX_LAYERS or not all(name in known for name in types):
        raise UnsupportedError("its layer_types are none that Sterna knows.")


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(out, in) of the seven linear matrices of a layer, by canonical name without `blk.N.` and `.weight`."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        "attn_q": (q, hidden),
        "attn_k": (kv, hidden),
        "attn_v": (kv, hidden),
        "attn_output": (hidden, q),
        "ffn_gate": (intermediate, hidden),
        "ffn_up": (intermediate, hidden),
        "ffn_down": (hidden, intermediate),
    }
