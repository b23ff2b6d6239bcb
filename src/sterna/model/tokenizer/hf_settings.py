"""What the files beside a vocabulary say of it: which tokens begin and end texts, which were added, the template.

A folder keeps this in up to seven files, and models differ in which of them are right: every end token counts that any
of them names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sterna.errors import FormatError, warn

MAX_CONFIG_BYTES = 1 << 22


@dataclass(frozen=True)
class Settings:
    """The defaults are those of a vocabulary that stands alone."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """tokenizer_config.json, completed from special_tokens_map.json."""
    bos_ids: tuple[int, ...] = ()
    eos_ids: tuple[int, ...] = ()
    """From generation_config.json, then config.json; not checked against the vocabulary."""
    added: Mapping[str, int] = field(default_factory=dict)
    """added_tokens.json: tokens beyond those of the vocabulary's own file."""
    template: str | None = None

    def named(self, name: str) -> str:
        """The text of a special token (`bos_token`, `eos_token`), empty where no file names it."""
        value = self.config.get(name)
        text = value.get("content") if isinstance(value, Mapping) else value
        return text if isinstance(text, str) else ""


def read_settings(folder: Path) -> Settings:
    """Raises FormatError for a file that is not JSON, but for those that transformers does without."""
    config = _object(folder / "tokenizer_config.json")
    for name, value in _object(folder / "special_tokens_map.json").items():
        if not config.get(name):
            config[name] = value
    generation, model = _dispensable(folder / "generation_config.json"), _object(folder / "config.json")
    text_model = model.get("text_config")
    places = (generation, model, text_model if isinstance(text_model, dict) else {})
    added = _object(folder / "added_tokens.json")
    return Settings(
        config=config,
        bos_ids=_integers(place.get("bos_token_id") for place in places),
        eos_ids=_integers(place.get("eos_token_id") for place in places),
        added={text: token for text, token in added.items() if _integers([token])},
        template=_chat_template(folder, config),
    )


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is no file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise FormatError(f"{path} is larger than any configuration.")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON.") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path} is no JSON object.")
    return value


def _dispensable(path: Path) -> dict[str, Any]:
    """A JSON object, empty with a warning where the file is broken."""
    try:
        return _object(path)
    except FormatError as error:
        warn(f"{str(error).rstrip('.')}, and is left out.")
        return {}


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The text of chat_template.jinja, else the template of tokenizer_config.json, else that of chat_template.json;
    among several named ones `default`."""
    file = folder / "chat_template.jinja"
    if file.is_file() and file.stat().st_size <= MAX_CONFIG_BYTES:
        return file.read_text(encoding="utf-8", errors="replace")
    for template in (config.get("chat_template"), _dispensable(folder / "chat_template.json").get("chat_template")):
        if isinstance(template, list):
            named = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
            template = named[-1].get("template") if named else None
        elif isinstance(template, dict):
            template = template.get("default")
        if isinstance(template, str):
            return template
    return None


def _integers(values: Any) -> tuple[int, ...]:
    """The whole numbers among values and lists of them, in order."""
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return tuple(number for number in flat if isinstance(number, int) and not isinstance(number, bool))
