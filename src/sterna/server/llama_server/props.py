"""`/props`: what a model is, and how it is served."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from sterna import __version__
from sterna.model.tokenizer import Tokenizer
from sterna.server.dialect import KnownModels
from sterna.server.json_reply import Json
from sterna.server.openai.sampling import Sampled

router = APIRouter()


@router.get("/props")
async def props(models: KnownModels, model: str | None = None) -> Response:
    """Properties of a model, which is loaded for that. Slots are no fixed number here; a path is nobody's business."""
    async with models.use(model) as served:
        tokenizer = served.llm.tokenizer
        return Json(
            {
                "default_generation_settings": {"n_ctx": served.llm.context_length, "params": _defaults()},
                "total_slots": 1,
                "model_alias": served.name,
                "model_path": served.name,
                "modalities": {"vision": False, "audio": False},
                "chat_template": tokenizer.chat_template or "",
                "bos_token": _name(tokenizer, tokenizer.bos_id),
                "eos_token": _name(tokenizer, min(tokenizer.eos_ids, default=None)),
                "build_info": f"sterna-{__version__}",
                "is_sleeping": False,
            }
        )


def _defaults() -> dict[str, Any]:
    """What chat completions do where a request does not say otherwise."""
    plain = Sampled.model_validate({})
    return {
        "n_predict": -1,
        "seed": -1,
        "temperature": plain.temperature,
        "top_k": plain.top_k,
        "top_p": plain.top_p,
        "min_p": plain.min_p,
        "repeat_penalty": plain.repetition_penalty,
        "presence_penalty": plain.presence_penalty,
        "frequency_penalty": plain.frequency_penalty,
    }


def _name(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.token_bytes(token).decode("utf-8", "replace")
