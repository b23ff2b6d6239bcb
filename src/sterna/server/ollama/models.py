"""What there is: `/api/tags`, `/api/show`, `/api/ps`, `/api/version`."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna.errors import SternaError
from sterna.server.description import Abilities, Description, abilities, describe
from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.known import Known
from sterna.server.ollama.names import NamedBody, tagged
from sterna.server.ollama.reply import time_text
from sterna.server.served import Served

router = APIRouter()

VERSION = "0.32.0"
"""The version of Ollama whose API this is: clients compare it with the one that they need."""
SUFFIX = "{# .Suffix #}"
"""A comment before the template of a model that fills gaps: editors (Continue) look for this word in it."""
LATEST_TIME = 4102444800.0
"""The year 2100, which stands for no end."""


@router.get("/version")
@router.head("/version", include_in_schema=False)
async def version() -> Response:
    """The version of the API."""
    return Json({"version": VERSION})


@router.get("/tags")
@router.head("/tags", include_in_schema=False)
async def tags(models: KnownModels) -> Response:
    """All known models whose files can be read, loaded or not."""
    known = models.known()
    return Json({"models": await asyncio.to_thread(lambda: [found for each in known for found in _listed(each)])})


@router.get("/ps")
async def loaded(models: KnownModels) -> Response:
    """The models that are loaded. With one are those of its adapters, which have no size of their own."""
    ready = {served.name: served for served in models.loaded()}
    running = [replace(ready[each.loads], known=each) for each in models.known() if each.loads in ready]
    return Json({"models": await asyncio.to_thread(lambda: [_loaded(each) for each in running])})


class Show(NamedBody):
    """The body of a request."""


@router.post("/show")
async def show(body: Show, models: KnownModels) -> Response:
    """What is known of a model."""
    known = models.find(body.known_name(models))
    lengths = [served.llm.context_length for served in models.loaded() if served.name == known.loads]
    return Json(await asyncio.to_thread(_shown, known, lengths[0] if lengths else None))


def _listed(known: Known) -> list[dict[str, Any]]:
    """A model in a list; nothing, where its files cannot be read."""
    try:
        return [{**_identity(known), "details": _details(describe(known))}]
    except (SternaError, OSError):
        return []


def _loaded(served: Served) -> dict[str, Any]:
    return {
        **_identity(served.known),
        "size": served.bytes if served.known.base is None else 0,
        "details": _details(describe(served.known)),
        "expires_at": time_text(min(served.expires, LATEST_TIME)),
        "size_vram": 0,
        "context_length": served.llm.context_length,
    }


def _identity(known: Known) -> dict[str, Any]:
    """Ollama's digest is that of a manifest. Ours tells one file from another, and from what it was before."""
    name, modified = tagged(known.name), time_text(known.created)
    digest = hashlib.sha256(f"{known.path.resolve()}\0{known.bytes}\0{known.created}".encode()).hexdigest()
    return {"name": name, "model": name, "modified_at": modified, "size": known.bytes, "digest": digest}


def _details(description: Description) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": description.format,
        "family": description.architecture,
        "families": [description.architecture],
        "parameter_size": _count_text(description.parameters),
        "quantization_level": description.encoding,
    }


def _shown(known: Known, context_length: int | None) -> dict[str, Any]:
    """`context_length`: of the loaded model, which may have been given a smaller one."""
    description, able = describe(known), abilities(known)
    context = context_length or description.context_length
    return {
        "modelfile": f"FROM {known.name}\n",
        "parameters": f"num_ctx {context}",
        "template": f"{SUFFIX if able.fills_gaps else ''}{able.template or ''}",
        "details": _details(description),
        "model_info": {**description.keys, f"{description.architecture}.context_length": context},
        "capabilities": _capabilities(able),
        "modified_at": time_text(known.created),
    }


def _capabilities(able: Abilities) -> list[str]:
    insert, thinking = ["insert"] if able.fills_gaps else [], ["thinking"] if able.thinks else []
    return ["completion", "tools", *insert, *thinking]


def _count_text(count: int) -> str:
    """A count of parameters as people read it: `4.2M`, `2.4B`."""
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.1f}M"
