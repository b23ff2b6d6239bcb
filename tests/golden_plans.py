"""Golden plans: plans of every architecture and of every way to multiply, with the output of each operation.

`python -m tests.golden_plans` writes them to `tests/data/plans`, as tests for any engine. Each plan has two files:

- NAME.json: `plan`, `tokens`, and `tensors`: encoding, shape and scale of each by name.
- NAME.safetensors: `tensor.NAME`, the stored bytes (uint8), and `step.I`, the output of operation I (float32
  [n, width]) in one causal pass over the tokens, with keys and values in float32. An operation reads the outputs of
  earlier ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from safetensors.numpy import load_file, save_file

from sterna.model.architectures import build_plan
from sterna.model.builder import ROTATION
from sterna.model.config import ModelConfig
from sterna.model.delta_net import DeltaNet
from sterna.model.hadamard import Hadamard
from sterna.model.operations import Embed, Linear, Operation, Permute, Rotate, Slot, Standardize, Weight
from sterna.model.oracle import Oracle
from sterna.model.plan import Head, Plan
from sterna.tensor.decode import tensor_values
from sterna.tensor.encode import encode
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor
from sterna.tensor.ternary import pack_ternary
from sterna.ternary.int4 import INT4

from .helpers import DATA, random_blocks, tiny_tensors

EMBEDDING = "token_embd.weight"
FOLDER = DATA / "plans"
SMALL = ModelConfig(
    architecture="bitnet-b1.58",
    vocab_size=40,
    hidden_size=128,
    intermediate_size=128,
    num_layers=1,
    num_heads=2,
    num_kv_heads=1,
    head_dim=64,
    context_length=64,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    rope_style="half",
    activation="relu2",
    tied_head=True,
)
MODELS = {
    "bitnet": SMALL,
    "llama": replace(SMALL, architecture="llama", activation="silu", rope_style="interleaved", tied_head=False),
    "mistral": replace(SMALL, architecture="llama", activation="silu", sliding_window=3, sliding_layers=(0,)),
    "qwen2": replace(SMALL, architecture="qwen2", activation="silu", head_dim=32, num_heads=4, num_kv_heads=1),
    "qwen3": replace(SMALL, architecture="qwen3", activation="silu", head_dim=32, num_kv_heads=2),
    "gemma3": replace(
        SMALL,
        architecture="gemma3",
        activation="gelu",
        num_layers=2,
        head_dim=32,
        embedding_scale=128**0.5,
        sliding_window=2,
        sliding_layers=(0,),
        local_rope_theta=100.0,
        rope_divisors=tuple(1 + i / 8 for i in range(16)),
    ),
    "hybrid": replace(
        SMALL,
        architecture="qwen35",
        activation="silu",
        num_layers=2,
        rotary_dim=16,
        delta_net=DeltaNet((0,), key_heads=2, value_heads=4, key_dim=16, value_dim=32, conv_width=4, is_tiled=True),
        hadamard=Hadamard(64, frozenset(("blk.0.ssm_out.weight",)), frozenset(), values_grouped=True),
    ),
    "rotated": replace(
        SMALL,
        architecture="qwen3",
        activation="silu",
        head_dim=32,
        hadamard=Hadamard(
            block_size=64,
            weights=frozenset(("blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.ffn_down.weight", EMBEDDING)),
            inverse=frozenset((EMBEDDING,)),
            signs={128: tuple(1 if i % 3 else -1 for i in range(128))},
        ),
    ),
}


@dataclass(frozen=True)
class GoldenPlan:
    """A plan, its tensors, and the outputs of its operations for the tokens."""

    plan: Plan
    tensors: dict[str, Tensor]
    tokens: list[int]
    steps: list[np.ndarray]


def make(plan: Plan, tensors: Mapping[str, Tensor], tokens: list[int]) -> GoldenPlan:
    """A golden plan whose outputs the oracle computes."""
    needed = {name: tensors[name] for name in sorted(plan.weights())}
    steps = Oracle(plan.to_dict(), tensor_values(needed), np.float32).steps(tokens)
    return GoldenPlan(plan, needed, tokens, [step.out for step in steps])


def model(name: str) -> GoldenPlan:
    """The golden plan of a model of `MODELS`; that of Qwen3 has input norms before all matrices."""
    config = MODELS[name]
    tensors = tiny_tensors(config, seed=1, input_norms=name == "qwen3")
    return make(build_plan(config, tensors), tensors, [7, 3, 11, 0, 7])


def products() -> GoldenPlan:
    """A golden plan with matrices in every encoding, and ternary ones with activations of every form."""
    rng = np.random.default_rng(5)
    rows, columns, tokens = 12, 256, [0, 1, 2]
    tensors = {"table": encode("table", rng.standard_normal((len(tokens), columns)), Encoding.F32)}
    plan = Plan(len(tokens), Head("table"), "x", {"x": columns}, operations=[Embed("x", "table")])

    def add(name: str, matrix: Tensor, activations: str, group_size: int = 0) -> None:
        tensors[matrix.name] = matrix
        plan.slots[name] = rows
        plan.operations.append(Linear(name, "x", matrix.name, None, activations, group_size))

    for encoding in Encoding:
        if encoding.activations == "int8" or encoding is Encoding.Q1_0_G32:  # which is Q4_0 once it is loaded
            continue
        values = rng.standard_normal((rows, columns)).astype(np.float32)
        blocks = random_blocks(encoding, rows, columns) if encoding.block > 1 else encode("w", values, encoding)
        for activations in dict.fromkeys(("none", encoding.activations)):
            add(f"{encoding.value} {activations}", replace(blocks, name=encoding.value), activations)
    codes = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    scales = rng.uniform(0.5, 2, (rows, 1)).astype(np.float16).astype(np.float32)
    for encoding, scale in ((Encoding.I2_S, 0.75), (Encoding.TQ1_0, scales), (Encoding.TQ2_0, scales)):
        matrix = pack_ternary(encoding.value, codes, scale, encoding)[0]
        for activations, group_size in (("none", 0), ("int8", 0), ("int8", 64), ("int8", 128)):
            add(f"{encoding.value} {activations} {group_size}", matrix, activations, group_size)
    add("i2_s int15 0", tensors["i2_s"], "int15")
    return make(plan, tensors, tokens)


def int4() -> GoldenPlan:
    """A golden plan with what comes before and after matrices that were quantised after training (rotations, scales,
    permutations, LayerNorm), and INT4 matrices with activations of every form."""
    rng = np.random.default_rng(6)
    rows, columns, rotations, tokens = 12, 256, 3, list(range(18))
    pairs = rng.permuted(np.broadcast_to(np.arange(64), (rotations, columns // 64, 64)), axis=-1)
    pairs += np.arange(0, columns, 64)[:, None]
    arrays = {
        "table": rng.standard_normal((len(tokens), columns)),
        "scales": rng.uniform(0.5, 2, columns),
        "angles": rng.uniform(-3, 3, (rotations, columns // 2)),
        "pairs": pairs.reshape(rotations, columns),
        "order": rng.permutation(columns),
    }
    tensors = {name: encode(name, values, Encoding.F32) for name, values in arrays.items()}
    parts = (Weight(part) for part in ROTATION)
    operations: list[Operation] = [
        Embed(Slot("x"), Weight("table")),
        Rotate(Slot("rotated"), Slot("x"), *parts),
        Rotate(Slot("scaled"), Slot("x"), Weight("scales")),
        Permute(Slot("permuted"), Slot("x"), Weight("order")),
        Standardize(Slot("standard"), Slot("x"), 1e-5),
    ]
    slots = {str(operation.out): columns for operation in operations}
    plan = Plan(len(tokens), Head("table"), "x", slots, operations=operations)
    for group, packing in INT4.items():
        encoding, shape = Encoding[f"INT4_G{group}"], (rows, columns // group)
        zeros = rng.uniform(0, 15, shape) if group == 64 else rng.integers(0, 17, shape)
        blocks = packing.pack(rng.integers(0, 16, (rows, columns), np.uint8), rng.uniform(0.01, 0.1, shape), zeros)
        tensors[encoding.value] = Tensor(encoding.value, (rows, columns), encoding, blocks)
        for activations in ("none", "int8", "int15"):
            out, groups = f"{encoding.value} {activations}", group if activations == "int8" else 0
            plan.slots[out] = rows
            linear = Linear(Slot(out), Slot("rotated"), Weight(encoding.value), None, activations, groups)
            plan.operations.append(linear)
    return make(plan, tensors, tokens)


def build(name: str) -> GoldenPlan:
    """The golden plan of this name, made anew."""
    return OTHERS[name]() if name in OTHERS else model(name)


OTHERS = {"products": products, "int4": int4}
NAMES = (*MODELS, *OTHERS)


def write(name: str, golden: GoldenPlan) -> None:
    described = {
        tensor.name: {"encoding": tensor.encoding.value, "shape": tensor.shape, "scale": tensor.scale}
        for tensor in golden.tensors.values()
    }
    text = {"plan": golden.plan.to_dict(), "tokens": golden.tokens, "tensors": described}
    (FOLDER / f"{name}.json").write_text(json.dumps(text, indent=1) + "\n")
    arrays = {f"tensor.{key}": np.ascontiguousarray(tensor.data) for key, tensor in golden.tensors.items()}
    arrays |= {f"step.{index}": np.ascontiguousarray(out) for index, out in enumerate(golden.steps)}
    save_file(arrays, FOLDER / f"{name}.safetensors")


def read(name: str) -> GoldenPlan:
    """The golden plan of this name from its files."""
    text = json.loads((FOLDER / f"{name}.json").read_text())
    arrays = load_file(FOLDER / f"{name}.safetensors")
    tensors = {
        key: Tensor(key, tuple(entry["shape"]), Encoding(entry["encoding"]), arrays[f"tensor.{key}"], entry["scale"])
        for key, entry in text["tensors"].items()
    }
    plan = Plan.from_dict(text["plan"])
    return GoldenPlan(plan, tensors, text["tokens"], [arrays[f"step.{i}"] for i in range(len(plan.operations))])


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        write(name, build(name))
        sizes = (FOLDER.joinpath(f"{name}.{end}").stat().st_size for end in ("json", "safetensors"))
        print(f"{name}: {sum(sizes):,} bytes")
