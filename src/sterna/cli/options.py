"""Arguments that several verbs share, and the flags made from dataclasses of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, wraps
from typing import Annotated, Any, get_type_hints

import typer

from sterna.engine.checks import Rule, Switch
from sterna.engine.options import EngineOptions
from sterna.engine.sampling import SamplingParams
from sterna.errors import ArgumentError


def complete_model(incomplete: str) -> list[str]:
    """Names of models that begin with what was typed. Where there are none a shell completes names of files."""
    from sterna.files.embedded import EMBEDDED_NAME
    from sterna.files.hub.cache import WELL_KNOWN

    return [name for name in (EMBEDDED_NAME, *WELL_KNOWN) if name.startswith(incomplete)]


MODEL_HELP = (
    "A GGUF file, a folder, ORG/REPO of the hub or a well-known name; default: sterna-tern, the embedded model."
)
Model = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL]", help=MODEL_HELP, autocompletion=complete_model),
]
"""The argument that names a model. `with_flags` adds the flag -m for it."""
_ModelFlag = Annotated[
    str | None,
    typer.Option("-m", "--model", metavar="MODEL", help="The same as MODEL.", autocompletion=complete_model),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

Lora = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="PATH[=SCALE]",
        help="An adapter (LoRA): a folder of PEFT or a GGUF file; may be repeated.",
    ),
]


def adapter_scales(texts: list[str] | None) -> dict[str, float]:
    """The scales of adapters by their paths; 1 where none is given. A path may have an equals sign itself."""
    from sterna.files.local import as_path  # which imports readers of models

    scales: dict[str, float] = {}
    for text in texts or []:
        path, _, number = text.rpartition("=")
        try:
            path, scale = (text, 1.0) if not path or as_path(text).exists() else (path, float(number))
        except ValueError:
            raise ArgumentError(f"--lora takes PATH or PATH=SCALE, and {number[:40]!r} is no number.") from None
        if path in scales:
            raise ArgumentError(f"--lora names {path} twice.")
        scales[path] = scale
    return scales


Verb = Callable[..., None]


def with_flags(**defaults: Any) -> Callable[[Verb], Verb]:
    """Replaces each parameter of a verb that is a dataclass of options (`EngineOptions`, `SamplingParams`) by
    flags, one for each field that names one, and adds the flag -m for a parameter `model`. `defaults`: the defaults
    that differ from those of the fields. A field whose name the verb has for a parameter of its own gets no flag.

    The verb's parameters are keyword-only, so that those without a default can stand anywhere.
    """

    def adapt(verb: Verb) -> Verb:
        hints = get_type_hints(verb, include_extras=True)
        groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
        assert defaults.keys() <= {field.name for kind in groups.values() for field, _ in _flags(kind)}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(verb).parameters.values():
            if parameter.name in groups:
                flags = _flags(groups[parameter.name])
                parameters += [_flag(field, hint, defaults) for field, hint in flags if field.name not in hints]
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))
            if parameter.name == "model":
                parameters.append(parameter.replace(name="model_flag", annotation=_ModelFlag))

        @wraps(verb)
        def run(**values: Any) -> None:
            for name, kind in groups.items():
                values[name] = kind(
                    **{field.name: values.pop(field.name) for field, _ in _flags(kind) if field.name not in hints}
                )
            named = values.pop("model_flag", None)
            if named is not None and values["model"] is not None:
                raise ArgumentError("Give the model once: as MODEL or with -m/--model.")
            if named is not None:
                values["model"] = named
            verb(**values)

        # typer reads both the signature and the annotations.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return adapt


def value_flag(rule: Rule, *names: str, help: str, show_default: bool = True) -> Any:
    """A flag whose value `rule` reads. For a wrong value it raises an `OptionError` that names the flag."""
    label = "/".join(names)
    return typer.Option(
        *names,
        parser=lambda value: rule.read(label, value) if isinstance(value, str) else value,
        metavar=rule.metavar,
        help=help,
        show_default=show_default,
    )


@cache
def flag_labels() -> dict[str, str]:
    """The names that error sentences have for options with flags: `-n/--max-tokens` for `max_tokens`."""
    return {
        field.name: "/".join(_names(field)) for kind in (EngineOptions, SamplingParams) for field, _ in _flags(kind)
    }


@cache
def _flags(kind: Any) -> list[tuple[Field[Any], Any]]:
    """The fields of a dataclass of options that have flags, and their types."""
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind) if _names(field)]


def _names(field: Field[Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = field.metadata["flags"]
    return names


def _flag(field: Field[Any], hint: Any, defaults: dict[str, Any]) -> inspect.Parameter:
    default = defaults.get(field.name, field.default)
    assert default is not MISSING
    if hint == tuple[str, ...]:
        hint, default = list[str], list(default)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, _option(field, default)]
    )


def _option(field: Field[Any], default: Any) -> Any:
    if isinstance(field.metadata["rule"], Switch):
        return typer.Option("/".join(_names(field)), help=field.metadata["help"], show_default=False)
    return value_flag(field.metadata["rule"], *_names(field), help=field.metadata["help"], show_default=default != [])


_I2S_LAYOUT = next(field for field, _ in _flags(EngineOptions) if field.name == "i2s_layout")
I2SLayout = Annotated[str, _option(_I2S_LAYOUT, _I2S_LAYOUT.default)]
"""For verbs that open a file without running it."""
