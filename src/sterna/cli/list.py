"""`sterna list`: lists the models in the cache."""

from __future__ import annotations

from dataclasses import asdict

from sterna.cli.options import Json
from sterna.cli.output import console, print_json


def list_models(json: Json = False) -> None:
    """List the models that are here.

    Names, sizes and files of the embedded model and of the models in the cache.
    """
    from sterna.checkpoint.hf.folder import is_hf_model
    from sterna.files.hub import cache

    models = cache.cached_models(is_hf_model)
    embedded = cache.embedded_model()
    if json:
        listed = [asdict(model) for model in models]
        print_json({"cache": str(cache.cache_folder()), "models": listed, "embedded": asdict(embedded)})
        return

    from rich.table import Table

    table = Table()
    for name in ("name", "short name", "size", "files"):
        table.add_column(name, overflow="fold")
    for model in [embedded, *models]:
        files = model.files if len(model.files) < 4 else [model.files[0], f"... {len(model.files)} files"]
        table.add_row(model.name, model.alias or "", f"{model.bytes / 1e6:,.1f} MB", "\n".join(files))
    console().print(table)
    if not models:
        print(f"No model is in {cache.cache_folder()}; `sterna pull NAME` fetches one: {', '.join(cache.WELL_KNOWN)}.")
