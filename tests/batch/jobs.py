"""Jobs for tests on the embedded model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = ("the ship", "a house", "no man", "her dear mother", "our old friend", "the night")


def openai_line(custom_id: str, url: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": f"/v1/{url}", "body": body}


def write_lines(path: Path, lines: Iterable[Any]) -> Path:
    """Writes lines; bytes as they are."""
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def read_lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def mixed_lines(count: int) -> list[Any]:
    """Lines of every kind, a tenth of them with errors."""
    lines: list[Any] = []
    for n in range(count):
        prompt = f"{WORDS[n % 6]} of {WORDS[n // 6 % 6]} and {n}"
        match n % 10:
            case 0 | 1 | 2 | 3:
                lines.append(openai_line(f"c{n}", "completions", prompt=prompt, max_tokens=8, temperature=1.0))
            case 4:
                lines.append(openai_line(f"m{n}", "chat/completions", messages=[{"role": "user", "content": prompt}],
                                         max_tokens=6, n=2, temperature=1))  # fmt: skip
            case 5:
                lines.append(openai_line(f"e{n}", "embeddings", input=[prompt, "x"], dimensions=4))
            case 6:
                lines.append(openai_line(f"r{n}", "responses", input=prompt, max_output_tokens=5))
            case 7 | 8:
                lines.append({"prompt": prompt, "max_tokens": 6, "temperature": 0.9, "label": n})
            case _:
                lines.append(b"{broken" if n % 20 == 9 else openai_line(f"l{n}", "completions", prompt="x " * 2000))
    return lines
