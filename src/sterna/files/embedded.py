"""The model that is part of the package."""

from __future__ import annotations

from pathlib import Path

EMBEDDED_NAME = "sterna-tern"
EMBEDDED_MODEL = Path(__file__).parents[1] / "models" / f"{EMBEDDED_NAME}.gguf"
