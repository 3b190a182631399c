"""Every error that a user can cause, each printed by the command line as one line.

A message says what was expected, what came, and what to do.
"""


class MambaADError(Exception):
    """Base of the errors that this package raises on purpose."""


class ConfigError(MambaADError, ValueError):
    """A setting, or a combination of settings, that cannot work; names the flag."""


class DataError(MambaADError, ValueError):
    """A data set, image or mask that cannot be used; names the path."""


class RunError(MambaADError, ValueError):
    """A run folder or checkpoint that is missing, incomplete or of another model."""


class NonFiniteLossError(MambaADError, ArithmeticError):
    """The training loss became NaN or infinite; names the files of the batch."""
