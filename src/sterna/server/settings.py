"""How a server listens, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`host` and `port`, or a Unix socket at `unix`; TLS where a certificate and its key are given."""

    host: str = "127.0.0.1"
    port: int = 8080
    unix: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    body_bytes: int = 16 << 20
    """The largest body of a request."""
