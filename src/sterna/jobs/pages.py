"""Lists that clients read page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from sterna.errors import shown
from sterna.server.errors import ApiError

Order = Literal["asc", "desc"]


class Listed(Protocol):
    """What lists hold."""

    @property
    def id(self) -> str: ...

    def body(self) -> dict[str, Any]: ...


def page(items: Sequence[Listed], order: Order, after: str | None, limit: int) -> dict[str, Any]:
    """The body of a list. `items` are in the order in which they were made, which is `asc`; `after`: the id of the last
    item of the page before. Raises `ApiError` for an id that is none."""
    ordered = list(items) if order == "asc" else list(reversed(items))
    start = 0
    if after is not None:
        start = next((n for n, item in enumerate(ordered, 1) if item.id == after), 0)
        if not start:
            raise ApiError(400, f"There is no {shown(after)} to go on after.", param="after")
    shown_items = ordered[start : start + limit]
    return {
        "object": "list",
        "data": [item.body() for item in shown_items],
        "first_id": shown_items[0].id if shown_items else None,
        "last_id": shown_items[-1].id if shown_items else None,
        "has_more": start + limit < len(ordered),
    }
