"""`sterna list`: lists the models in the cache."""

from __future__ import annotations

from dataclasses import asdict

from sterna.cli.options import Json
from sterna.cli.output import print_json


def list_models(json: Json = False) -> None:
    """Names, sizes and files of downloaded models."""
    from sterna.checkpoint.hf.folder import is_hf_model
    from sterna.files.hub import cache

    models = cache.cached_models(is_hf_model)
    if json:
        print_json({"cache": str(cache.cache_folder()), "models": [asdict(model) for model in models]})
        return
    if not models:
        print(f"No model is in {cache.cache_folder()}; `sterna pull NAME` fetches one: {', '.join(cache.WELL_KNOWN)}.")
        return

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "short name", "size", "files")
    for model in models:
        files = model.files if len(model.files) < 4 else [model.files[0], f"... {len(model.files)} files"]
        table.add_row(model.name, model.alias or "", f"{model.bytes / 1e6:,.1f} MB", "\n".join(files))
    Console().print(table)
