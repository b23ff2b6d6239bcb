"""The errors that Sterna raises on purpose, its warning, and parts of their sentences.

Each error has one plain sentence that says what is wrong and what to do.
"""

import warnings
from collections.abc import Collection, Sequence

MAX_NAMED = 20
"""The most names that a sentence lists."""


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
    """An option has a value that it cannot have. The sentence is the option's name and a predicate; the CLI replaces
    the name with that of the flag."""

    def __init__(self, option: str, predicate: str) -> None:
        super().__init__(f"{option} {predicate}")
        self.option, self.predicate = option, predicate


class GrammarError(ArgumentError):
    """A grammar or schema cannot be compiled. Nothing is ever generated without the grammar instead."""


class ContextLengthError(SternaError):
    """A prompt does not fit into the context."""


class ModelWarning(UserWarning):
    """A model can be used, but is probably not what its maker meant."""


def warn(sentence: str) -> None:
    """Gives a `ModelWarning`; the CLI prints its sentence on stderr."""
    warnings.warn(sentence, ModelWarning, stacklevel=3)


def listed(names: Sequence[object]) -> str:
    """Names separated by commas, as a sentence lists them: at most `MAX_NAMED`, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(str, names[:MAX_NAMED])) + more


def shown(value: object) -> str:
    """A caller's value as a sentence quotes it: its `repr`, of which at most 60 characters are kept."""
    try:
        text = repr(value)
    except Exception:  # a whole number of too many digits, or somebody's broken class
        return f"this {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def reason(error: Exception) -> str:
    """Why something failed, for a sentence that names the file itself: what the system says of it, without number and
    name, or the error's own text."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def suggestion(name: str, known: Collection[str], otherwise: str | None = None) -> str:
    """The end of a sentence about an unknown name: the most similar known name; where none is similar, `otherwise`, or
    all known names."""
    from difflib import get_close_matches

    bare = {word.lstrip("-"): word for word in known}  # dashes make all flags alike
    near = get_close_matches(name.lstrip("-"), bare, n=1)
    if near:
        return f"; did you mean '{bare[near[0]]}'?"
    return f"; {otherwise or 'these are: ' + ', '.join(known)}."
