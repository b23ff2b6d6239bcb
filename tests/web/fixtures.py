"""What the browser's engine must agree with: models as GGUF keys, their plans, and texts with their ids.

`python -m tests.web.fixtures` writes them to `web/engine`.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sterna.checkpoint import open_checkpoint
from sterna.checkpoint.gguf.keys import config_keys, config_tensors
from sterna.checkpoint.gguf.model import read_config
from sterna.files.embedded import EMBEDDED_MODEL
from sterna.model.architectures import build_plan
from sterna.model.config import ModelConfig
from sterna.model.hadamard import Hadamard
from sterna.model.oracle import quantize
from sterna.model.tokenizer.pre import PRE, Pre
from sterna.tensor.decode import decode
from sterna.tensor.tensor import Tensor
from tests.golden_plans import MODELS
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


def contents() -> dict[Path, Any]:
    """What each file holds. The engine itself reads the pre types; the others are for its tests."""
    return {
        FIXTURES / "models.json": models(),
        FIXTURES / "embedded.json": texts(),
        FIXTURES / "sampling.json": sampling.cases(),
        FIXTURES / "codes.json": codes(),
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
