"""GGUF, the single-file format of llama.cpp and bitnet.cpp: our own reader and writer, since those on PyPI refuse
I2_S."""

from sterna.files.gguf.reader import GGUFFile, read_gguf
from sterna.files.gguf.writer import write_gguf

__all__ = ["GGUFFile", "read_gguf", "write_gguf"]
