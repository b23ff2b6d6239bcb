"""The files of a training state: `state.safetensors`, and beside it the shards of every process but the first.

A state of several processes is one safetensors file for each: the first process's is the state itself and names the
SHA-256 of the others, which lie in a folder of the state's step. A tensor that is sharded is in every file, cut along
its first dimension, in the order of the processes; a tensor that is not sharded is in the first file alone. So in
either case the whole tensor is the concatenation of what the files have of it, and a state of one process is one file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sterna.errors import FormatError
from sterna.files.safetensors.reader import StoredTensor

PARTS = "parts"
"""The metadata key of the digests of the other files, a JSON list in the order of the processes."""
STEP = "step"
"""The metadata key of the steps after which the state was saved."""
FOLDER = re.compile(r"state\.step-(\d+)")
"""The names of the folders of shards."""
MOST_PARTS = 1 << 16
"""A state that names so many files or more is refused."""
_SHA256 = re.compile("[0-9a-f]{64}")


def shard_folder(state: Path, step: int) -> Path:
    """The folder of the shards that belong to the file `state` of this step."""
    return state.with_name(f"state.step-{step}")


def shard_path(state: Path, step: int, process: int, processes: int) -> Path:
    """The file with the shards of a process, counted from 0; the first one's is `state` itself."""
    return state if process == 0 else shard_folder(state, step) / f"{process + 1}-of-{processes}.safetensors"


def shard_digests(state: Path, metadata: Mapping[str, str]) -> dict[Path, str]:
    """The files with the shards of the further processes, with their SHA-256 in hexadecimal digits; empty for a state
    of one process. Raises FormatError where `metadata`, of the file `state`, does not name them as it should."""
    try:
        digests, step = json.loads(metadata.get(PARTS, "[]")), int(metadata.get(STEP, "0"))
    except (ValueError, RecursionError):
        digests, step = None, 0
    if (
        not isinstance(digests, list)
        or len(digests) >= MOST_PARTS
        or not all(isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests)
    ):
        raise FormatError(f"{state} is no training state: it does not name the files of its shards as it should.")
    count = len(digests) + 1
    return {shard_path(state, step, process, count): digest for process, digest in enumerate(digests, 1)}


def joined(shards: Sequence[StoredTensor]) -> StoredTensor:
    """The whole tensor of its shards. Raises FormatError where they do not fit together."""
    first = shards[0]
    if len(shards) == 1:
        return first
    if any(not shard.shape or (shard.dtype, shard.shape[1:]) != (first.dtype, first.shape[1:]) for shard in shards):
        raise FormatError(f"the shards of its tensor {first.name!r} do not fit together.")
    shape = (sum(shard.shape[0] for shard in shards), *first.shape[1:])
    return replace(first, shape=shape, data=np.concatenate([shard.data for shard in shards]))
