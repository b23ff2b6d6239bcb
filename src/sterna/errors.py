"""The errors that Sterna raises on purpose, and its warning. Each has one plain sentence that says what is wrong and
what to do."""


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


class ContextLengthError(SternaError):
    """A prompt does not fit into the context."""


class ModelWarning(UserWarning):
    """A model can be used, but is probably not what its maker meant."""
