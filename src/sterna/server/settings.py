"""How a server listens, whom it answers, and its limits."""

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
    api_keys: tuple[str, ...] = ()
    """Without any, everybody who can connect may ask."""
    allow_origins: tuple[str, ...] = ()
    """Web sites whose scripts may ask, as `https://example.com`; `*`: all."""
    queue: int = 512
    """Most requests that run or wait at one time."""
    grace: float = 30.0
    """Seconds for which running requests may go on when the server is told to stop."""
    body_bytes: int = 16 << 20
    """The largest body of a request."""
    slow_seconds: float = 30.0
    """Seconds that a client may take to send the head of a request, to send its body (and as many more as
    `BODY_RATE` allows), or to take nothing of a reply that waits for it."""
