"""What is known of a batch."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

ENDED = ("completed", "failed", "expired", "cancelled")


@dataclass
class Batch:
    """A batch while it lives. Its fields are kept on disk; times are seconds since 1970."""

    endpoint: str
    input_file_id: str
    completion_window: str
    created_at: float
    expires_at: float
    """When the lines that have no outcome get an error."""
    seed: int = 0
    metadata: dict[str, str] | None = None
    output_seconds: float | None = None
    """How long the client wants to keep what the batch makes; None: as long as the server does."""
    id: str = field(default_factory=lambda: f"batch_{uuid.uuid4().hex}")
    output_id: str = ""
    """The id of the file of answers, which is published at the end, if there are any."""
    error_id: str = ""
    status: str = "validating"
    model: str | None = None
    """The name of the model that answers; None before the lines were read."""
    job: str | None = None
    """What answers depend on besides the lines; None before the batch runs."""
    total: int = 0
    """Lines."""
    completed: int = 0
    failed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    """Why the batch failed."""
    published: list[str] = field(default_factory=list)
    """Ids of the files that the batch has made."""
    times: dict[str, float] = field(default_factory=dict)
    """When each status after the first began."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it."""
        return self.status in ENDED

    def body(self) -> dict[str, Any]:
        """The batch as OpenAI's API shows it."""
        names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.status,
            "output_file_id": self.output_id if self.output_id in self.published else None,
            "error_file_id": self.error_id if self.error_id in self.published else None,
            "created_at": int(self.created_at),
            "expires_at": int(self.expires_at),
            **{f"{name}_at": int(self.times[name]) if name in self.times else None for name in names},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }
