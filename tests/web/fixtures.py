"""What the browser's engine must agree with: models as GGUF keys, their plans, and texts with their ids.

`python -m tests.web.fixtures` writes them to `web/engine`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.gguf.keys import config_keys, config_tensors
from sterna.checkpoint.gguf.model import read_config
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.gpu.fuse import fuse
from sterna.gpu.layouts import Layout, layout_of
from sterna.gpu.steps import (
    AttentionStep,
    EmbedStep,
    HadamardStep,
    HeadsStep,
    LinearStep,
    NormAddStep,
    RowStep,
    Step,
)
from sterna.model.architectures import build_plan
from sterna.model.config import ModelConfig
from sterna.model.hadamard import Hadamard
from sterna.model.operations import Linear, Weight
from sterna.model.oracle import quantize
from sterna.model.tokenizer.pre import PRE, Pre
from sterna.tensor.decode import decode
from sterna.tensor.tensor import Tensor
from tests.golden_plans import MODELS, read
from tests.helpers import tiny_tensors
from tests.web import sampling

ENGINE = Path(__file__).parents[2] / "web/engine"
FIXTURES = ENGINE / "test/fixtures"
PROMPT = "Once upon a time, there was a little bird. 你好 🐦 naïve\n"


def models() -> list[dict[str, Any]]:
    """Metadata and tensors of the golden plans' models, with the plans that they must give."""
    return [model(name, config) for name, config in MODELS.items() if config.delta_net is None]


def model(name: str, config: ModelConfig) -> dict[str, Any]:
    tensors = tiny_tensors(config, seed=1, input_norms=name == "qwen3")
    factors = [decode(tensor).tolist() for tensor in config_tensors(config)]
    metadata = plain(config_keys(config, name) | hadamard_keys(config.hadamard))
    read = read_config(metadata, tensors | {tensor.name: tensor for tensor in config_tensors(config)}, {})
    return {
        "name": name,
        "metadata": metadata,
        "factors": factors[0] if factors else None,
        "tensors": described(tensors),
        "plan": build_plan(read, tensors).to_dict(),
    }


def hadamard_keys(rotation: Hadamard | None) -> dict[str, Any]:
    """The keys `prism.hadamard.*` of a rotation with a tied embedding (version 2)."""
    if rotation is None:
        return {}
    keys: dict[str, Any] = {
        "version": 2,
        "block_size": rotation.block_size,
        "weight_names": sorted(rotation.weights - rotation.inverse),
        "inverse_weight_names": sorted(rotation.inverse),
        "tied_output": True,
        "sign_mode": "explicit",
        "sign_widths": list(rotation.signs),
        "sign_values": [sign for signs in rotation.signs.values() for sign in signs],
    }
    return {f"prism.hadamard.{key}": value for key, value in keys.items()}


def described(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: [tensor.encoding.value, list(tensor.shape)] for name, tensor in tensors.items()}


def plain(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as JSON: float32 numbers as files keep them."""
    return {key: float(np.float32(value)) if isinstance(value, float) else value for key, value in metadata.items()}


def texts() -> dict[str, Any]:
    """Ids of texts, and a conversation's, by the embedded model's tokenizer; and what the model writes."""
    from sterna import LLM

    llm = LLM(EMBEDDED_MODEL)
    tokenizer = open_checkpoint(EMBEDDED_MODEL).tokenizer()
    samples = [PROMPT, "", " ", "Hello, world! It's 12345 o'clock.", "<|endoftext|> typed", "a\n\n  b\t c"]
    messages = [{"role": "user", "content": "Tell me a story."}]
    return {
        "texts": [[text, tokenizer.encode(text)] for text in samples],
        "chat": [messages, tokenizer.encode_chat(messages)],
        "written": sampling.written(llm),
    }


def codes() -> dict[str, Any]:
    """Rows of float32 and their whole numbers by the oracle, in base64: ties, rows near zero, and large ones."""
    ties = np.arange(300) - 149.5
    drawn = np.random.default_rng(2).normal(size=300)
    rows = np.stack([ties.clip(-127, 127), drawn, drawn * 1e-7, drawn * 0, drawn * 1e30, ties / 3]).astype(np.float32)
    found: dict[str, Any] = {"columns": rows.shape[1], "rows": base64(rows)}
    for activations, kind in [("int8", np.int8), ("int15", np.int16)]:
        whole, scales = quantize(rows, activations)
        found[activations] = {"codes": base64(whole.astype(kind)), "scales": base64(scales.astype(np.float32))}
    return found


def base64(values: np.ndarray) -> str:
    return b64encode(values.tobytes()).decode()


def pre_types() -> list[dict[str, Any]]:
    """How each pre type cuts text (`model/tokenizer/pre.py`), with the names that have it."""
    found: dict[Pre, list[str]] = {}
    for name, pre in PRE.items():
        found.setdefault(pre, []).append(name)
    return [{"names": names, **asdict(pre)} for pre, names in found.items()]


def steps() -> dict[str, Any]:
    """The steps of golden plans as the GPU's engine in Python fuses them: the browser's engine has the same."""
    found = {}
    for name, config in MODELS.items():
        if config.delta_net is None:
            golden = read(name)
            activations = {op.weight: op.activations for op in golden.plan.operations if isinstance(op, Linear)}
            program = fuse(golden.plan, partial(_layout, golden.tensors, activations))
            described = [_step(step, golden.tensors) for step in program.steps]
            found[name] = {"steps": described, "head": _step(program.head, golden.tensors)}
    return found


def _layout(tensors: dict[str, Tensor], activations: dict[Weight, str], name: str) -> Layout:
    return layout_of(tensors[name], activations[Weight(name)])


def _step(step: Step, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """A step as `web/engine/test/steps.test.ts` describes a dispatch, with what both engines give their kernels."""
    match step:
        case EmbedStep(out=out, weight=weight, factor=factor):
            return {"kernel": "embed", "out": out, "weight": weight, "factor": factor}
        case RowStep(out=out, x=x, up=up, activation=activation, norm=norm, quantize=quantize):
            parts = {"up": up, "activation": activation, "norm": norm and norm.weight, "quantize": quantize}
            parts["quantize"] = quantize and quantize[0]
            return {"kernel": "row", "out": out, "x": x, **parts}
        case NormAddStep(out=out, x=x, norm=norm):
            return {"kernel": "norm_add", "out": out, "x": x, "norm": norm.weight}
        case LinearStep(out=out, x=x, weights=weights, biases=biases, activations=activations, residual=residual):
            rows = sum(tensors[name].shape[0] for name in weights)
            flags = {"residual": residual, "bias": any(bias is not None for bias in biases)}
            matrix = {"weight": weights[0], "rows": rows, "activations": activations}
            return {"kernel": "linear", "out": out, "x": x, **matrix, **flags}
        case HeadsStep(attention=attention, rope=rope, norms=norms):
            turns = {"style": rope.style, "turns": rope.frequencies, "norms": [norm.weight for norm in norms]}
            return {"kernel": "heads", "q": attention.q, "cache": f"{attention.cache} {attention.layer}", **turns}
        case AttentionStep(attention=attention):
            slots = {"q": attention.q, "out": attention.out}
            return {"kernel": "attention", **slots, "cache": f"{attention.cache} {attention.layer}"}
        case HadamardStep(operation=operation):
            slots = {"out": operation.out, "x": operation.x}
            return {"kernel": "hadamard", **slots, "direction": operation.direction, "block": operation.block}
    raise ValueError(f"the browser has no {step}")


def contents() -> dict[Path, Any]:
    """What each file holds. The engine itself reads the pre types; the others are for its tests."""
    return {
        FIXTURES / "models.json": models(),
        FIXTURES / "embedded.json": texts(),
        FIXTURES / "sampling.json": sampling.cases(),
        FIXTURES / "codes.json": codes(),
        FIXTURES / "steps.json": steps(),
        ENGINE / "src/tokenizer/pre.json": pre_types(),
    }


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def main() -> None:
    FIXTURES.mkdir(exist_ok=True)
    for path, value in contents().items():
        path.write_text(written(value))


if __name__ == "__main__":
    main()
