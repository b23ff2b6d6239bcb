"""The fuzzing targets: each reads bytes as one kind of file, and may raise only the errors of `sterna.errors`."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from sterna import LLM, Tokenizer
from sterna.checkpoint import open_checkpoint
from sterna.errors import SternaError
from sterna.model.chat import render

CORPUS = Path(__file__).parent / "corpus"
MESSAGES = [{"role": "system", "content": "Be <s>brief</s>."}, {"role": "user", "content": " Hi "}]


def gguf(data: bytes, folder: Path) -> None:
    """A GGUF file: opened, its tokenizer used, and run."""
    path = _write(folder / "model.gguf", data)
    tokenizer = open_checkpoint(path).tokenizer()
    ids = tokenizer.encode("ab <s>ø", parse_special=True)
    assert isinstance(tokenizer.decode(ids), str)
    llm = LLM(path, threads=1)
    assert llm.logits([0]).shape == (1, llm.vocab_size)
    llm.generate("a", max_tokens=2)


def safetensors(data: bytes, folder: Path) -> None:
    """A folder, as the length of config.json (2 bytes), config.json, and the safetensors file."""
    length = int.from_bytes(data[:2], "little")
    _write(folder / "config.json", data[2 : 2 + length])
    _write(folder / "model.safetensors", data[2 + length :])
    llm = LLM(folder, threads=1)
    assert llm.logits([0]).shape == (1, llm.vocab_size)


def index(data: bytes, folder: Path) -> None:
    """A folder whose index of shards is `data`."""
    config, weights = folder_seed()
    _write(folder / "config.json", config)
    _write(folder / "model-00001-of-00001.safetensors", weights)
    _write(folder / "model.safetensors.index.json", data)
    open_checkpoint(folder).load()


def tokenizer(data: bytes, folder: Path) -> None:
    """A tokenizer.json, or Llama-3's tiktoken file."""
    read = Tokenizer(_write(folder / "tokenizer.json", data))
    assert isinstance(read.decode(read.encode("It was ø <s>", parse_special=True)), str)


def template(data: bytes, folder: Path) -> None:
    """A chat template."""
    render(data.decode("utf-8", "replace"), MESSAGES, variables={"bos_token": "<s>"})


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    function.__name__: function for function in (gguf, safetensors, index, tokenizer, template)
}


def run(name: str, data: bytes) -> str:
    """`ok`, or the name of the Sterna error that a target raised; other exceptions are passed on."""
    with tempfile.TemporaryDirectory(prefix="sterna-fuzz-") as folder:
        try:
            TARGETS[name](data, Path(folder))
            return "ok"
        except SternaError as error:
            sentence = str(error)
            assert sentence.endswith((".", "?")) and "\n" not in sentence, sentence
            return type(error).__name__


def folder_seed() -> tuple[bytes, bytes]:
    """config.json and model.safetensors of a corpus file."""
    data = (CORPUS / "safetensors" / "packed").read_bytes()
    length = int.from_bytes(data[:2], "little")
    return data[2 : 2 + length], data[2 + length :]


def joined(config: bytes, weights: bytes) -> bytes:
    """The input of the target `safetensors`."""
    return struct.pack("<H", len(config)) + config + weights


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
