"""The formats of folders that quantised matrices are written in."""

from __future__ import annotations

from sterna.checkpoint.hf import mlx
from sterna.checkpoint.hf.quantized import aqlm, awq, compressed_tensors, gptq, littlebit, paroquant

ALL = (awq.WRITER, gptq.WRITER, paroquant.WRITER, compressed_tensors.WRITER, mlx.WRITER, aqlm.WRITER, littlebit.WRITER)
WRITERS = {writer.name: writer for writer in ALL}
"""By the names that `--format` takes."""
