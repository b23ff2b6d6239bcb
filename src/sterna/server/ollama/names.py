"""Names of models, which Ollama writes with a tag: `sterna-tern:latest`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from sterna.server.body import Body
from sterna.server.models import Models
from sterna.server.served import Served
from sterna.server.units import Duration

LATEST = ":latest"


def tagged(name: str) -> str:
    """A known name as clients list it: some look for a tag in every name."""
    return name if ":" in name else name + LATEST


def untagged(models: Models, name: str | None) -> str | None:
    """The known name that a request means by one with or without a tag."""
    if name is None or any(known.name == name for known in models.known()):
        return name
    return name.removesuffix(LATEST)


def keep_alive_seconds(given: float | str | None) -> float | None:
    """Seconds of a `keep_alive`, a number or a text such as `5m`; None stays None. Raises `OptionError`."""
    return None if given is None else Duration().take("keep_alive", given)


class NamedBody(Body):
    """The body of a request about a model. Old clients call its name `name`."""

    model: str | None = None
    name: str | None = None
    keep_alive: float | str | None = None

    def named(self) -> str | None:
        """The name as the request has it."""
        return self.model or self.name

    def known_name(self, models: Models) -> str | None:
        """The known name of the model."""
        return untagged(models, self.named())

    def use(self, models: Models) -> AbstractAsyncContextManager[Served]:
        """As `Models.use`. Raises `OptionError` for a `keep_alive` that is no time."""
        return models.use(self.known_name(models), keep_alive_seconds(self.keep_alive))
