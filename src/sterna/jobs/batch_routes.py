"""`/v1/batches`."""

from __future__ import annotations

import math
import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import Response

from sterna.batch.lines import URLS
from sterna.errors import OptionError, listed, shown
from sterna.jobs.batch import Batch
from sterna.jobs.batches import Batches
from sterna.jobs.pages import page
from sterna.server.body import Body
from sterna.server.errors import ApiError
from sterna.server.json_reply import Json
from sterna.server.units import Duration


class Expiry(Body):
    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(gt=0)


class Asked(Body):
    """A batch as a client asks for it. `seed` is ours: that of `sterna batch`."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16
    )
    output_expires_after: Expiry | None = None
    seed: int = Field(0, ge=0, lt=2**64)

    def batch(self) -> Batch:
        """Raises `ApiError` for a value that cannot work."""
        if self.endpoint not in URLS:
            raise ApiError(400, f"The endpoint is one of {listed(URLS)}, not {shown(self.endpoint)}.", param="endpoint")
        try:
            window = Duration().read("completion_window", self.completion_window)
        except OptionError as error:
            raise ApiError(400, str(error), param="completion_window") from None
        if not 0 < window < math.inf:
            raise ApiError(400, "completion_window is a time such as 24h.", param="completion_window")
        now = time.time()
        return Batch(
            endpoint=self.endpoint,
            input_file_id=self.input_file_id,
            completion_window=self.completion_window,
            created_at=now,
            expires_at=now + window,
            seed=self.seed,
            metadata=self.metadata,
            output_seconds=None if self.output_expires_after is None else self.output_expires_after.seconds,
        )


def router(batches: Batches) -> APIRouter:
    """The addresses of batches."""
    routes = APIRouter(prefix="/batches")

    @routes.post("")
    async def create(body: Asked) -> Response:
        """Begins a batch."""
        batch = body.batch()
        told = batch.body()
        await batches.create(batch)
        return Json(told)

    @routes.get("")
    async def list_batches(after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
        """The batches, the newest first."""
        return Json(page(batches.all(), "desc", after, limit))

    @routes.get("/{id}")
    async def show_batch(id: str) -> Response:
        """What is known of a batch."""
        return Json(batches.find(id).body())

    @routes.post("/{id}/cancel")
    async def cancel(id: str) -> Response:
        """Ends a batch; what is done is kept."""
        batch = batches.find(id)
        await batches.cancel(batch)
        return Json(batch.body())

    return routes
