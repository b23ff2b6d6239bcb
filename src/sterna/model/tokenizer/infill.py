"""Special tokens that mark the gap of a text, for models that fill it in (arXiv 2207.14255, prefix-suffix-middle)."""

from __future__ import annotations

from collections.abc import Mapping

_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, Granite
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),  # Code Llama
    ("<PRE>", "<SUF>", "<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM-4
)


def infill_marks(special: Mapping[str, int]) -> tuple[int, int, int] | None:
    """The tokens before the text that precedes the gap, before the text that follows it, and before what fills it;
    None for a vocabulary without them. `special`: the ids of the special tokens by name."""
    for before, after, middle in _MARKS:
        if before in special and after in special and middle in special:
            return special[before], special[after], special[middle]
    return None
