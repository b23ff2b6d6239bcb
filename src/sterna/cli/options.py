"""Arguments that several verbs share, and the flags made from dataclasses of options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, wraps
from typing import Annotated, Any, get_type_hints

import typer

from sterna.engine.options import EngineOptions

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A GGUF file, a folder, ORG/REPO of the hub or a well-known name; default: the embedded model.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

Verb = Callable[..., None]


def with_flags(**defaults: Any) -> Callable[[Verb], Verb]:
    """Replaces each parameter of a verb that is a dataclass of options (`EngineOptions`, `SamplingParams`) by
    flags, one for every field whose metadata names one. `defaults`: those that differ from the fields' own.

    The verb's parameters are keyword-only, so that those without a default can stand anywhere.
    """

    def adapt(verb: Verb) -> Verb:
        hints = get_type_hints(verb, include_extras=True)
        groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
        assert defaults.keys() <= {field.name for kind in groups.values() for field, _ in _flags(kind)}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(verb).parameters.values():
            if parameter.name in groups:
                parameters += [_flag(*flag, defaults) for flag in _flags(groups[parameter.name])]
            else:
                parameters.append(parameter.replace(annotation=hints[parameter.name]))

        @wraps(verb)
        def run(**values: Any) -> None:
            for name, kind in groups.items():
                taken = {field.name: values.pop(field.name) for field, _ in _flags(kind)}
                values[name] = kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in taken.items()})
            verb(**values)

        # typer reads both the signature and the annotations.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return adapt


@cache
def _flags(kind: Any) -> list[tuple[Field[Any], Any]]:
    """The fields of a dataclass of options that have flags, and their types."""
    hints = get_type_hints(kind)
    return [(field, hints[field.name]) for field in fields(kind) if "names" in field.metadata]


def _flag(field: Field[Any], hint: Any, defaults: dict[str, Any]) -> inspect.Parameter:
    default = defaults.get(field.name, field.default)
    assert default is not MISSING
    if hint == tuple[str, ...]:
        hint, default = list[str], list(default)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[hint, _option(field, not (default is None or default is False or default == []))],
    )


def _option(field: Field[Any], show_default: bool) -> Any:
    return typer.Option(
        *field.metadata["names"],
        help=field.metadata["help"],
        metavar=field.metadata["metavar"],
        show_default=show_default,
    )


_I2S_LAYOUT = next(field for field, _ in _flags(EngineOptions) if field.name == "i2s_layout")
I2SLayout = Annotated[str, _option(_I2S_LAYOUT, show_default=True)]
"""For verbs that open a file without running it."""
