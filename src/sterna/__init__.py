"""Sterna: train, convert, pack and run ternary (BitNet b1.58) language models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sterna.engine.async_llm import AsyncLLM
    from sterna.engine.llm import LLM
    from sterna.model.tokenizer import Tokenizer

__version__ = "0.2.0"
__all__ = ["LLM", "AsyncLLM", "Tokenizer", "__version__"]

_HOMES = {
    "LLM": "sterna.engine.llm",
    "AsyncLLM": "sterna.engine.async_llm",
    "Tokenizer": "sterna.model.tokenizer",
}


def __getattr__(name: str) -> Any:
    """Loads the engine or the tokenizer when it is first asked for, so that `import sterna` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sterna' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
