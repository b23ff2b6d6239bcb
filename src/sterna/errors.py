"""The errors that Sterna raises on purpose, and its warning. Each has one plain sentence that says what is wrong and
what to do."""

from collections.abc import Collection


class SternaError(Exception):
    """Base of all errors below; the CLI prints its sentence and exits 1."""


class FormatError(SternaError):
    """A file is not what it claims to be: truncated, inconsistent, out of bounds."""


class NotFoundError(SternaError):
    """A file or folder that was named cannot be read."""


class NetworkError(SternaError):
    """The hub cannot be reached, or a download broke off; what was downloaded is kept."""


class UnsupportedError(SternaError):
    """A file or request is valid, but asks for something that Sterna does not do."""


class ArgumentError(SternaError):
    """A caller passed a value that cannot work (a wrong shape, a number out of range)."""


class OptionError(ArgumentError):
    """An option has a value that it cannot have. Its sentence begins with the option's name, for which the CLI puts
    that of the flag."""

    def __init__(self, option: str, predicate: str) -> None:
        super().__init__(f"{option} {predicate}")
        self.option, self.predicate = option, predicate


class ContextLengthError(SternaError):
    """A prompt does not fit into the context."""


class ModelWarning(UserWarning):
    """A model can be used, but is probably not what its maker meant."""


def shown(value: object) -> str:
    """A caller's value as a sentence can have it: its `repr`, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # a whole number of too many digits, or somebody's broken class
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def suggestion(name: str, known: Collection[str], otherwise: str | None = None) -> str:
    """The end of a sentence about an unknown name: the known one that is nearest; where none is near, `otherwise`, or
    all that are known."""
    from difflib import get_close_matches

    bare = {word.lstrip("-"): word for word in known}  # dashes make all flags alike
    near = get_close_matches(name.lstrip("-"), bare, n=1)
    if near:
        return f"; did you mean '{bare[near[0]]}'?"
    return f"; {otherwise or 'these are: ' + ', '.join(known)}."
