"""The pre type of a tokenizer.json: its `pre_tokenizer` as the expressions of `PRE`."""

from __future__ import annotations

from typing import Any

from sterna.model.tokenizer.pre import DIGIT, GPT2, PRE, PUNCTUATION, PUNCTUATION_MARK


def _spelled(pattern: str) -> str:
    """One spelling for line breaks: some files have the characters themselves (StableLM 2)."""
    return pattern.replace("\r", r"\r").replace("\n", r"\n")


_BY_PATTERNS: dict[tuple[tuple[str, ...], bool], str] = {}
for _name, _pre in PRE.items():
    if not _pre.pieces:
        _BY_PATTERNS.setdefault((tuple(map(_spelled, _pre.patterns)), _pre.ignore_merges), _name)
# Falcon3 cuts single digits, and then groups of three in vain.
_BY_PATTERNS[(*PRE["falcon3"].patterns, "[0-9][0-9][0-9]"), False] = "falcon3"


def pre_steps(pre_tokenizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a tokenizer.json `pre_tokenizer`, a `Sequence` flattened."""
    if pre_tokenizer is None:
        return []
    return pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]


def identify(pre_tokenizer: dict[str, Any] | None, ignore_merges: bool = False) -> str | None:
    """The pre type that a tokenizer.json `pre_tokenizer` amounts to, None for one that has no name here.

    GGUF has no key for the model's `ignore_merges`, which follows from the name. Where no name has both the expressions
    and the flag, one with the expressions is taken: merges lead to nearly every token, so the flag rarely matters.
    """
    patterns: list[str] = []
    bytes_now = False
    for step in pre_steps(pre_tokenizer):
        pattern = _pattern(step, bytes_now)
        if pattern is None:
            return None
        patterns += [_spelled(pattern)] if pattern else []
        bytes_now |= step["type"] == "ByteLevel"
    same = [_BY_PATTERNS.get((tuple(patterns), flag)) for flag in (ignore_merges, not ignore_merges)]
    return same[0] or same[1]


def _pattern(step: dict[str, Any], bytes_now: bool) -> str | None:
    """The expression that makes the cuts of one step: "" where it makes none, None where there is no such expression.

    `bytes_now`: an earlier step has written the text in the alphabet of bytes.
    """
    kind = step["type"]
    if kind == "ByteLevel":
        if step.get("add_prefix_space"):
            return None
        return GPT2 if step.get("use_regex", True) else ""
    if kind == "Split" and "Regex" in step["pattern"]:
        pattern = step["pattern"]["Regex"]
        # To remove what does not match is to cut, if everything matches: letters and symbols, and spaces at the end.
        cuts = ("Removed", True) if pattern.endswith(r"|\s+") else ("Isolated", False)
        return pattern if (step["behavior"], step["invert"]) in {("Isolated", False), cuts} else None
    if kind == "Digits":
        # Of the alphabet of bytes only ASCII's digits begin and end with a whole character of the text.
        digit = "[0-9]" if bytes_now else DIGIT
        return digit if step["individual_digits"] else digit + "+"
    if kind == "Punctuation" and not bytes_now:
        return {"Contiguous": PUNCTUATION, "Isolated": PUNCTUATION_MARK}.get(step["behavior"])
    return None
