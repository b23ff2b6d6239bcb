"""The rotation of activations that a GGUF file declares in `prism.hadamard.*` (PrismML's llama.cpp, versions 1 and 2).

A rotated model that is run without its rotation writes nonsense, so a declaration with an unknown key or value is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sterna.errors import FormatError, UnsupportedError
from sterna.files.gguf.metadata import Keys
from sterna.model.hadamard import MAX_BLOCK, Hadamard
from sterna.tensor.tensor import Tensor

PREFIX = "prism.hadamard"
FIXED = {"transform": "normalized-sylvester-walsh-hadamard", "axis": "input-last-dimension"}
"""Keys that may have one value alone."""
LISTS = {"weight_names", "inverse_weight_names", "sign_widths", "sign_values"}
KNOWN = {*FIXED, *LISTS, "version", "block_size", "sign_mode", "gdn_v_grouped", "tied_output"}
EMBEDDING, HEAD = "token_embd.weight", "output.weight"
_ROTATED = re.compile(
    r"(?:blk\.\d+\.(?:attn_[qkv]|attn_qkv|attn_gate|attn_output|ssm_out|ffn_gate|ffn_up|ffn_down)|output)\.weight",
    re.ASCII,
)


def read_hadamard(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Hadamard | None:
    """The rotation of a file's activations, None where it declares none.

    Raises UnsupportedError for a version, key or value that Sterna does not know, FormatError for a declaration that
    contradicts itself or the tensors.
    """
    given = {key.removeprefix(f"{PREFIX}.") for key in metadata if key.startswith(f"{PREFIX}.")}
    if not given:
        return None
    keys = Keys(metadata, PREFIX)
    version = keys.get("version")
    if version not in (1, 2):
        raise UnsupportedError(f"its rotation has the version {version!r}, and Sterna knows 1 and 2.")
    for key in sorted(given - KNOWN):
        raise UnsupportedError(f"its rotation has a key {key!r}, which Sterna does not know.")
    for key, wanted in FIXED.items():
        if keys.get(key, wanted) != wanted:
            raise UnsupportedError(f"its rotation has the {key} {keys.get(key)!r}, and Sterna knows {wanted!r}.")
    grouped = keys.get("gdn_v_grouped", False)
    if not isinstance(grouped, bool) or grouped and not any(name.endswith(".ssm_out.weight") for name in tensors):
        raise UnsupportedError("its rotation has the key gdn_v_grouped, and the model no gated delta nets.")
    block = keys.get("block_size")
    if not isinstance(block, int) or not 1 < block <= MAX_BLOCK or block & (block - 1):
        raise FormatError(f"its rotation has blocks of {block!r}, which is no power of two up to {MAX_BLOCK}.")
    weights, inverse = (_names(metadata, key, tensors) for key in ("weight_names", "inverse_weight_names"))
    tied = keys.get("tied_output", False)
    if tied is not (version == 2) or tied and (HEAD in tensors or EMBEDDING not in inverse):
        raise FormatError("its rotation contradicts itself about the output matrix.")
    if not inverse <= {EMBEDDING} or not all(map(_ROTATED.fullmatch, weights)):
        raise UnsupportedError("its rotation names a tensor that Sterna does not rotate.")
    weights |= {EMBEDDING} if tied else set()
    for name in weights | inverse:
        if tensors[name].shape[-1] % block:
            raise FormatError(f"its rotation has blocks of {block}, which do not fill the rows of {name!r}.")
    return Hadamard(block, frozenset(weights), frozenset(inverse), _signs(metadata, keys), grouped)


def _names(metadata: Mapping[str, Any], key: str, tensors: Mapping[str, Tensor]) -> set[str]:
    """The names of tensors that a key lists."""
    names = metadata.get(f"{PREFIX}.{key}", ())
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise FormatError(f"its rotation's {key} is no list of names.")
    for name in names:
        if name not in tensors:
            raise FormatError(f"its rotation names the tensor {name!r}, which is not there.")
    return set(names)


def _signs(metadata: Mapping[str, Any], keys: Keys) -> dict[int, tuple[int, ...]]:
    """The signs of the columns, by width: the key `sign_values` has them one width after the other."""
    mode = keys.get("sign_mode", "identity")
    if mode not in ("identity", "explicit"):
        raise UnsupportedError(f"its rotation has the sign_mode {mode!r}, which Sterna does not know.")
    if mode == "identity":
        return {}
    try:
        widths, values = (
            [int(number) for number in metadata[f"{PREFIX}.{key}"]] for key in ("sign_widths", "sign_values")
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise FormatError("its rotation has no lists of signs.") from None
    if len(set(widths)) < len(widths) or min(widths, default=0) < 1 or sum(widths) != len(values):
        raise FormatError("its rotation's signs do not fit their widths.")
    if not set(values) <= {-1, 1}:
        raise FormatError("its rotation has a sign that is neither 1 nor -1.")
    signs, at = {}, 0
    for width in widths:
        signs[width] = tuple(values[at : at + width])
        at += width
    return signs
