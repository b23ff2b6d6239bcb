"""The identity of a reply."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from sterna import __version__


@dataclass(frozen=True)
class Stamp:
    """Who made a reply, and when: `key` makes its ids its own, `created` is in seconds since 1970."""

    model: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self, kind: str, prefix: str) -> dict[str, Any]:
        """The fields with which a reply, or each chunk of it, begins."""
        return {
            "id": f"{prefix}-{self.key}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"sterna-{__version__}",
        }
