"""How text is cut into words before byte-level BPE: the `tokenizer.ggml.pre` types, as regular expressions.

Each expression cuts every piece that the one before it left; each match is a piece, and so is the text between two
matches. The names and their meanings are llama.cpp's and bitnet.cpp's (src/llama-vocab.cpp, 2024-2025); the expressions
are those of the models' own tokenizer.json files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# Mistral's cuts before a capital within a word: capitals and the lower-case letters after them are one piece.
_HIGH, _LOW = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_HIGH}*{_LOW}+|[^\r\n\p{{L}}\p{{N}}]?{_HIGH}+{_LOW}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]+"
CJK = "[一-龥\u0800-一가-\ud7ff]+"
# The letters that have case, in the ranges of DeepSeek's tokenizer.json, here in hexadecimal.
_CASED_RANGES = """
    41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1
    3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A
    1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4
    1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128
    212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D
    A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F
    104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""
CASED = (
    r"\s?[" + "".join("-".join(chr(int(end, 16)) for end in ends.split("-")) for ends in _CASED_RANGES.split()) + "]+"
)
DEEPSEEK_MARKS = "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"


@dataclass(frozen=True)
class Pre:
    """One pre type: its expressions in order, and its defaults where a file does not say."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    """A word that is a token stays whole, whether or not the merges lead to it."""
    add_bos: bool = False


_LLAMA3 = Pre((LLAMA3,), ignore_merges=True, add_bos=True)
_FALCON3 = Pre((PUNCTUATION, GPT2, "[0-9]"))
PRE: dict[str, Pre] = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "gpt-2": Pre((GPT2,)),
    "qwen2": Pre((QWEN2,)),
    "tekken": Pre((TEKKEN,), ignore_merges=True, add_bos=True),
    "falcon": Pre((PUNCTUATION, GPT2, "[0-9][0-9][0-9]")),
    # bitnet.cpp's reading, which Falcon3's tokenizer.json confirms; llama.cpp reads "falcon3" as Llama-3.
    "falcon3": _FALCON3,
    "falcon_e": _FALCON3,
    "falcon-e": _FALCON3,
    "deepseek-llm": Pre(("[\r\n]", CASED, DEEPSEEK_MARKS, r"\s+$", CJK, r"\p{N}+")),
    "deepseek-coder": Pre(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}")),
    "default": Pre((PUNCTUATION.replace("`", ""), GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
}

# tokenizer.json writes the same cuts as other steps; `identify` makes a signature of them.
_BY_SIGNATURE: dict[tuple[str, ...], str] = {
    (LLAMA3,): "llama-bpe",
    (GPT2,): "gpt-2",
    (QWEN2,): "qwen2",
    (TEKKEN,): "tekken",
    ("Punctuation:Contiguous", GPT2, "Digits:False", "[0-9][0-9][0-9]"): "falcon",
    ("Punctuation:Contiguous", GPT2, "Digits:True", "[0-9][0-9][0-9]"): "falcon3",
    ("Punctuation:Contiguous", GPT2, "Digits:True"): "falcon3",
    **{PRE[name].patterns: name for name in ("falcon", "falcon3", "deepseek-llm", "deepseek-coder", "default")},
    ("[\r\n]", CASED, DEEPSEEK_MARKS, r"\s+$", CJK, "Digits:True"): "deepseek-llm",
    ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, "Digits:True"): "deepseek-coder",
}


def pre_steps(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a tokenizer.json `pre_tokenizer`, a `Sequence` flattened."""
    if pre_tokenizer is None:
        return []
    return pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]


def identify(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The pre type that a tokenizer.json `pre_tokenizer` amounts to, None for one that has no name here."""
    signature: list[str] = []
    for step in pre_steps(pre_tokenizer):
        kind = step["type"]
        if kind == "ByteLevel":
            if step.get("add_prefix_space"):
                return None
            signature += [GPT2] if step.get("use_regex", True) else []
        elif kind == "Split" and step["behavior"] == "Isolated" and not step["invert"] and "Regex" in step["pattern"]:
            signature.append(step["pattern"]["Regex"])
        elif kind == "Digits":
            signature.append(f"Digits:{step['individual_digits']}")
        elif kind == "Punctuation":
            signature.append(f"Punctuation:{step['behavior']}")
        else:
            return None
    return _BY_SIGNATURE.get(tuple(signature))
