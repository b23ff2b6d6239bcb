"""Makes the seed corpus: `python -m tests.fuzz.seeds`. Seeds are small valid files, so that mutations reach far."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from sterna.files.gguf import write_gguf
from tests.helpers import TINY, gguf_metadata, tiny_tensors
from tests.tiny_vocabularies import byte_level_json

from .targets import CORPUS, joined

SMALL = replace(TINY, vocab_size=24, hidden_size=32, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1)
VOCABULARY: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": [*"abcdefgh", "ab", "cd", "abcd", "<s>", "</s>", *"ijklmnopqrs"],
    "tokenizer.ggml.token_type": [1] * 11 + [3, 3] + [1] * 11,
    "tokenizer.ggml.merges": ["a b", "c d", "ab cd"],
    "tokenizer.ggml.bos_token_id": 11,
    "tokenizer.ggml.eos_token_id": 12,
    "tokenizer.chat_template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
}
PIECES = ["<unk>", "<s>", "</s>", "▁", "▁a", "b", "ab", *(f"<0x{byte:02X}>" for byte in range(65, 82))]
SENTENCEPIECE: dict[str, Any] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": PIECES,
    "tokenizer.ggml.token_type": [2, 3, 3] + [1] * 4 + [6] * 17,
    "tokenizer.ggml.scores": [0.0] * 3 + [-1.0, -2.0, -3.0, -4.0] + [0.0] * 17,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
}
TEMPLATES = {
    "llama3": "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content']"
    " | trim + '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
    "namespace": "{%- set ns = namespace(found=false) -%}{%- for m in messages if m.role == 'user' -%}"
    "{%- set ns.found = true -%}{{ m.content.split('i')[-1].strip() | replace('a', 'b') }}{%- endfor -%}"
    "{{ ns.found | tojson }}",
    "macro": "{% macro show(text, times=2) %}{{ text | upper }}{{ range(times) | list | length }}{% endmacro %}"
    "{{ show(messages[0]['content']) }}{{ raise_exception('no') if messages | length > 9 }}",
}


def folder_files() -> tuple[bytes, bytes]:
    """config.json and model.safetensors of a packed Llama model."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "vocab_size": 24,
        "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"},
    }
    rng = np.random.default_rng(0)
    tensors: dict[str, tuple[str, np.ndarray]] = {
        "model.embed_tokens.weight": ("F16", rng.standard_normal((24, 32)).astype(np.float16)),
        "model.norm.weight": ("F32", np.ones(32, np.float32)),
    }
    layer = "model.layers.0."
    for name in ("input_layernorm", "post_attention_layernorm"):
        tensors[f"{layer}{name}.weight"] = ("F32", np.ones(32, np.float32))
    for name, rows in {
        "self_attn.q_proj": 32,
        "self_attn.k_proj": 16,
        "self_attn.v_proj": 16,
        "self_attn.o_proj": 32,
        "mlp.gate_proj": 32,
        "mlp.up_proj": 32,
        "mlp.down_proj": 32,
    }.items():
        codes = rng.integers(0, 3, (4, rows // 4, 32)).astype(np.uint8)
        tensors[f"{layer}{name}.weight"] = ("U8", codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6)
        tensors[f"{layer}{name}.weight_scale"] = ("F32", np.array([0.1], np.float32))
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(data), len(data) + values.nbytes],
        }
        data += values.tobytes()
    text = json.dumps(header).encode()
    return json.dumps(config).encode(), len(text).to_bytes(8, "little") + text + data


def main() -> None:
    for name in ("gguf", "safetensors", "index", "tokenizer", "template"):
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
    models = {"bitnet": (SMALL, VOCABULARY), "sentencepiece": (replace(SMALL, architecture="bitnet"), SENTENCEPIECE)}
    for name, (config, vocabulary) in models.items():
        write_gguf(CORPUS / "gguf" / name, gguf_metadata(config) | vocabulary, tiny_tensors(config).values())
    config, weights = folder_files()
    (CORPUS / "safetensors" / "packed").write_bytes(joined(config, weights))
    names = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    index = {"weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (CORPUS / "index" / "one-shard").write_text(json.dumps(index))
    state = json.loads(byte_level_json())
    kept = {text: token for text, token in state["model"]["vocab"].items() if token < 260}
    merges = [pair for pair in state["model"]["merges"] if "".join(pair) in kept]
    state["model"] |= {"vocab": kept, "merges": merges}
    (CORPUS / "tokenizer" / "byte-level").write_text(json.dumps(state, ensure_ascii=False))
    (CORPUS / "tokenizer" / "tiktoken").write_text("YQ== 0\nYg== 1\nYWI= 2\n")
    for name, source in TEMPLATES.items():
        (CORPUS / "template" / name).write_text(source)


if __name__ == "__main__":
    main()
