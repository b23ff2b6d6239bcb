"""`/v1/files`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from sterna.engine.checks import Number
from sterna.errors import OptionError
from sterna.jobs.files import Files
from sterna.jobs.pages import Order, page
from sterna.jobs.upload import Form, read_form
from sterna.server.errors import ApiError
from sterna.server.json_reply import Json

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 1},
                    },
                }
            }
        },
    }
}


def router(files: Files) -> APIRouter:
    """The addresses of files."""
    routes = APIRouter(prefix="/files")

    @routes.post("", openapi_extra=_FORM)
    async def upload(request: Request) -> Response:
        """Takes a file, as a form."""
        incoming = files.receive()
        try:
            form = await read_form(request.headers.get("content-type", ""), request.stream(), incoming)
            seconds = _checked(form)
            assert form.filename is not None
            made = await incoming.finish(form.filename, form.fields["purpose"], seconds)
        except BaseException as error:
            incoming.abandon()
            if isinstance(error, OSError):
                raise ApiError(500, f"The file cannot be kept: {error.strerror}.") from error
            raise
        return Json(made.body())

    @routes.get("")
    async def list_files(
        purpose: str | None = None,
        order: Order = "desc",
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    ) -> Response:
        """The files, the newest first."""
        found = [each for each in files.all() if purpose in (None, each.purpose)]
        return Json(page(found, order, after, limit))

    @routes.get("/{id}")
    async def show_file(id: str) -> Response:
        """What is known of a file."""
        return Json(files.find(id).body())

    @routes.get("/{id}/content")
    async def content(id: str) -> Response:
        """The bytes of a file."""
        found = files.find(id)
        return FileResponse(
            files.path(found.id),
            media_type="application/octet-stream",
            filename=found.filename,
            headers={"X-Content-Type-Options": "nosniff"},
        )

    @routes.delete("/{id}")
    async def delete(id: str) -> Response:
        """Removes a file."""
        files.delete(id)
        return Json({"id": id, "object": "file", "deleted": True})

    return routes


def _checked(form: Form) -> float | None:
    """The seconds for which a client wants its file. Raises `ApiError` for a form that cannot be taken."""
    if form.filename is None:
        raise ApiError(400, "The form has no part file.", param="file")
    purpose = form.fields.get("purpose")
    if purpose != "batch":
        raise ApiError(400, f"The purpose of a file is batch, not {purpose!r}.", param="purpose")
    anchor, text = (form.fields.get(f"expires_after[{name}]") for name in ("anchor", "seconds"))
    if text is None:
        return None
    if anchor not in (None, "created_at"):
        raise ApiError(400, f"The anchor is created_at, not {anchor!r}.", param="expires_after")
    try:
        seconds: float = Number(above=0).read("expires_after", text)
    except OptionError as error:
        raise ApiError(400, str(error), param="expires_after") from None
    return seconds
