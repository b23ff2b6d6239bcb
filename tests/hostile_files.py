"""Opens malicious files: `python -m tests.hostile_files FOLDER`, a JSON report on stdout.

Each file is opened in a separate process, so that its time and memory can be measured.
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sterna import LLM, Tokenizer
from sterna.errors import SternaError
from sterna.files.gguf.writer import write_gguf
from sterna.tensor.encodings import Encoding
from sterna.tensor.tensor import Tensor

from .helpers import float_tensor, gguf_metadata, tiny_tensors
from .test_gguf_format import BROKEN, entry, header, string

TOKENS = ["<s>", "</s>", *map(chr, range(33, 127))]
VOCABULARY: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3, 3] + [1] * 94,
    "tokenizer.ggml.merges": ["a b"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
}
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5,
    "vocab_size": 96,
}
GIGABYTE = 10**9


def gguf(path: Path, metadata: dict[str, Any] | None = None, tensors: dict[str, Tensor] | None = None) -> None:
    """Writes a model that is valid except for the metadata and tensors given."""
    write_gguf(path, gguf_metadata() | VOCABULARY | (metadata or {}), (tiny_tensors() | (tensors or {})).values())


def sparse(path: Path, start: bytes, size: int) -> None:
    """Writes a sparse file of `size` bytes: zeros after `start`."""
    path.write_bytes(start)
    os.truncate(path, size)


def with_float(path: Path, name: str, value: float) -> None:
    tensor = tiny_tensors()[name]
    kind = np.float16 if tensor.encoding is Encoding.F16 else np.float32
    values = tensor.data.view(kind).astype(np.float32).reshape(tensor.shape)
    values[:] = value
    gguf(path, tensors={name: float_tensor(name, values, tensor.encoding)})


def with_scale(path: Path, value: float) -> None:
    """Writes a model whose ternary matrix has a scale that the writer would refuse."""
    tensor = tiny_tensors()["blk.0.attn_q.weight"]
    gguf(path, tensors={tensor.name: Tensor(tensor.name, tensor.shape, tensor.encoding, tensor.data, 0.123456)})
    data = path.read_bytes()
    assert data.count(struct.pack("<f", 0.123456)) == 1
    path.write_bytes(data.replace(struct.pack("<f", 0.123456), struct.pack("<f", value)))


def template(source: str) -> Callable[[Path], None]:
    return lambda path: gguf(path, {"tokenizer.chat_template": source})


def folder(path: Path, config: Any = CONFIG, weights: bytes = b"", **files: bytes) -> None:
    """Makes a Hugging Face folder; `files`: contents by name, with `__` for the dot."""
    path.mkdir()
    (path / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    (path / "model.safetensors").write_bytes(weights)
    for name, data in files.items():
        (path / name.replace("__", ".")).write_bytes(data)


def safetensors(entries: dict[str, Any] | bytes, data: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor_entry(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


EMBEDDING = {"model.embed_tokens.weight": tensor_entry([96, 128], 0, 96 * 128 * 4)}
TABLE = bytes(96 * 128 * 4)
WHOLE = safetensors(EMBEDDING, TABLE)

FILES: dict[str, Callable[[Path], None]] = {
    **{
        f"gguf: {name}": lambda path, parts=parts: path.write_bytes(b"".join(parts()))
        for name, (_, _, parts) in BROKEN.items()
    },
    "gguf: string of 10 GB that is there": lambda path: sparse(
        path, header(0, 1) + string("k") + struct.pack("<IQ", 8, 10 * GIGABYTE), 12 * GIGABYTE
    ),
    "gguf: 2^30 booleans that are there": lambda path: sparse(
        path, header(0, 1) + string("k") + struct.pack("<IIQ", 9, 7, 1 << 30), 2 * GIGABYTE
    ),
    "gguf: 7 million strings that are there": lambda path: sparse(
        path, header(0, 1) + string("k") + struct.pack("<IIQ", 9, 8, 7_000_000), GIGABYTE
    ),
    "gguf: tensor of 2^43 weights": lambda path: path.write_bytes(header(1, 0) + entry("t", [1 << 20, 1 << 23])),
    "gguf: too many merges": lambda path: gguf(path, {"tokenizer.ggml.merges": ["a b"] * 2_100_000}),
    "gguf: as many merges as may be": lambda path: gguf(
        path,
        {
            "tokenizer.ggml.tokens": ["<s>", "ab", *TOKENS[2:]],
            "tokenizer.ggml.merges": ["a b"] * 2_000_000,
            "tokenizer.chat_template": "{{ nothing.there }}",
        },
    ),
    "gguf: a million long tokens": lambda path: gguf(path, {"tokenizer.ggml.tokens": ["a" * 30] * 1_100_000}),
    "gguf: scale NaN": lambda path: with_scale(path, float("nan")),
    "gguf: scale infinite": lambda path: with_scale(path, float("inf")),
    "gguf: norm NaN": lambda path: with_float(path, "blk.1.attn_norm.weight", float("nan")),
    "gguf: embedding NaN": lambda path: with_float(path, "token_embd.weight", float("nan")),
    "gguf: embedding infinite": lambda path: with_float(path, "token_embd.weight", float("inf")),
    "gguf: epsilon NaN": lambda path: gguf(path, {"bitnet-b1.58.attention.layer_norm_rms_epsilon": float("nan")}),
    "gguf: theta NaN": lambda path: gguf(path, {"bitnet-b1.58.rope.freq_base": float("nan")}),
    "gguf: 2^32 layers": lambda path: gguf(path, {"bitnet-b1.58.block_count": 1 << 32}),
    "gguf: context of 2^60": lambda path: gguf(path, {"bitnet-b1.58.context_length": 1 << 60}),
    "gguf: no head": lambda path: gguf(path, {"bitnet-b1.58.attention.head_count": 0}),
    "template: import": template("{% import 'os' as os %}{{ os.system('true') }}"),
    "template: builtins": template("{{ ().__class__.__base__.__subclasses__() }}"),
    "template: globals": template("{{ namespace.__init__.__globals__ }}"),
    "template: loop": template("{% for i in range(10**9) %}{{ i }}{% endfor %}"),
    "template: loops in loops": template(
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"
    ),
    "template: doubling": template(
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"
    ),
    "template: recursive macro": template("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}"),
    "template: brackets": template("{{ " + "(" * 60_000 + ")" * 60_000 + " }}"),
    "template: a million characters": template("a" * 1_000_000),
    "template: width": template("{{ '%999999999d' | format(1) }}"),
    "safetensors: empty": lambda path: folder(path, weights=b""),
    "safetensors: header of 2^60": lambda path: folder(path, weights=struct.pack("<Q", 1 << 60) + b"{}" * 99),
    "safetensors: header of zeros": lambda path: (
        (
            folder(path),
            sparse(path / "model.safetensors", struct.pack("<Q", 90_000_000), GIGABYTE),
        )
        and None
    ),
    "safetensors: a million brackets": lambda path: folder(path, weights=safetensors(b"[" * 1_000_000)),
    "safetensors: too many entries": lambda path: folder(
        path, weights=safetensors({f"t{i}": tensor_entry([0], 0, 0) for i in range(300_000)})
    ),
    "safetensors: many entries": lambda path: folder(
        path, weights=safetensors({f"t{i}": tensor_entry([0], 0, 0) for i in range(60_000)})
    ),
    "safetensors: past the end": lambda path: folder(path, weights=safetensors(EMBEDDING, TABLE[:-1])),
    "safetensors: offset 2^63": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([1], 1 << 63, (1 << 63) + 4)}, TABLE)
    ),
    "safetensors: begins behind its end": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([1], 8, 4)}, TABLE)
    ),
    "safetensors: offset NaN": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([1], float("nan"), 4)}, TABLE)
    ),
    "safetensors: overlap": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([2], 0, 8), "u": tensor_entry([1], 4, 8)}, TABLE)
    ),
    "safetensors: dimension 0": lambda path: folder(
        path, weights=safetensors({"model.embed_tokens.weight": tensor_entry([96, 0], 0, 0)})
    ),
    "safetensors: dimension -1": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([-1, -1], 0, 4)}, TABLE)
    ),
    "safetensors: name twice": lambda path: folder(
        path,
        weights=safetensors(b'{"t":%b,"t":%b}' % ((json.dumps(tensor_entry([1], 0, 4)).encode(),) * 2), TABLE),
    ),
    "safetensors: unknown type": lambda path: folder(
        path, weights=safetensors({"t": tensor_entry([1], 0, 4, ["F32"])}, TABLE)
    ),
    "folder: config of brackets": lambda path: folder(path, config=b"[" * 8_000_000),
    "folder: config of too many lists": lambda path: folder(path, config=b'{"a":[' + b"[]," * 20_000_000 + b"[]]}"),
    "folder: config of many lists": lambda path: folder(path, config=b'{"a":[' + b"[]," * 1_300_000 + b"[]]}"),
    "folder: number of a million digits": lambda path: folder(path, config=b'{"a":' + b"9" * 1_000_000 + b"}"),
    "folder: 10^12 layers": lambda path: folder(path, CONFIG | {"num_hidden_layers": 10**12}, WHOLE),
    "folder: hidden size 2^60": lambda path: folder(path, CONFIG | {"hidden_size": 1 << 60}, WHOLE),
    "folder: epsilon NaN": lambda path: folder(path, CONFIG | {"rms_norm_eps": float("nan")}, WHOLE),
    "folder: architectures nested": lambda path: folder(
        path, CONFIG | {"architectures": [["LlamaForCausalLM"]]}, WHOLE
    ),
    "folder: shard elsewhere": lambda path: folder(
        path,
        model__safetensors__index__json=json.dumps({"weight_map": {"t": "../../etc/passwd"}}).encode(),
    ),
    "folder: shard that is the index": lambda path: folder(
        path,
        model__safetensors__index__json=json.dumps({"weight_map": {"t": "model.safetensors.index.json"}}).encode(),
    ),
    "folder: shard without the tensor": lambda path: folder(
        path,
        weights=WHOLE,
        model__safetensors__index__json=json.dumps({"weight_map": {"t": "model.safetensors"}}).encode(),
    ),
}
TOKENIZERS: dict[str, Callable[[Path], None]] = {
    "tokenizer: zeros": lambda path: sparse(path, b"{", 10 * GIGABYTE),
    "tokenizer: brackets": lambda path: sparse(path, b"{" + b"[" * 60_000_000, 60_000_000) and None,
    "tokenizer: lists": lambda path: path.write_bytes(b'{"model":[' + b"[]," * 20_000_000 + b"[]]}") and None,
    "tokenizer: added tokens": lambda path: (
        path.write_bytes(b'{"added_tokens":[' + b'{"id":0,"content":"a"},' * 2_500_000 + b"{}]}") and None
    ),
    "tokenizer: as many commas as may be": lambda path: (
        path.write_bytes(b'{"model":[' + b"[]," * 2_000_000 + b"[]]}") and None
    ),
    "tokenizer: tiktoken": lambda path: path.write_bytes(b"YQ== 0\n" * 9_000_000) and None,
}
"""Files that are opened as tokenizers."""


def attempt(name: str, path: Path) -> str:
    """The sentence with which Sterna refuses to run a file."""
    try:
        if name in TOKENIZERS:
            Tokenizer(path).encode("ab")
            return "ran"
        llm = LLM(path, threads=1)
        llm.generate("ab", max_tokens=2, temperature=1.0, seed=1)
        llm.chat([{"role": "user", "content": "Hi"}], max_tokens=2)
    except SternaError as error:
        return str(error)
    return "ran"


def main(workplace: str) -> None:
    report = {}
    for number, (name, write) in enumerate((FILES | TOKENIZERS).items()):
        path = Path(workplace) / str(number)
        write(path)
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            with os.fdopen(writer, "w") as out:
                out.write(attempt(name, path))
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            sentence = answer.read()
        _, status, usage = os.wait4(child, 0)
        report[name] = {
            "sentence": sentence,
            "status": status,
            "seconds": usage.ru_utime + usage.ru_stime,
            "megabytes": usage.ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10)),
        }
        if path.is_file():
            path.unlink()
    print(json.dumps(report))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (32 << 30, 32 << 30))
    main(sys.argv[1])
