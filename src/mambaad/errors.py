"""Errors that a user can cause, each printed by the command line as one line.

A message states what was expected, what came, and what to do.
"""


class MambaADError(Exception):
    """Base class of the errors that this package raises on purpose."""


class ConfigError(MambaADError, ValueError):
    """An invalid setting or combination of settings; names the flag."""


class DataError(MambaADError, ValueError):
    """An unusable data set, image or mask; names the path."""


class RunError(MambaADError, ValueError):
    """A run folder, bundle or output file that is missing, damaged or of another model."""


class NonFiniteLossError(MambaADError, ArithmeticError):
    """The training loss became NaN or infinite; names the files of the batch."""


class ToldError(RunError):
    """Another process of this training has failed, and says why: nothing is to be said here."""
