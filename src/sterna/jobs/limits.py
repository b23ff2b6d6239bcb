"""Where files lie, how many there may be, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Of the files and batches of one server."""

    folder: Path | None = None
    """Where they outlive the server; None: a temporary folder."""
    seconds: float = 30 * 86400.0
    """For which a file is kept, and a batch that has ended; infinite: for ever."""
    file_bytes: int = 200_000_000
    """The largest file that is uploaded."""
    all_bytes: int = 10_000_000_000
    """Of all files together."""
    files: int = 10_000
    batches: int = 1_000
    """Those that have ended included; the oldest of these make room for new ones."""

    def expiry(self, created: float, seconds: float | None = None) -> float | None:
        """When something ends that was made at a time: seconds since 1970; None: never. `seconds`: for which its maker
        wants it, if that is less."""
        kept = self.seconds if seconds is None else min(seconds, self.seconds)
        return None if math.isinf(kept) else created + kept
