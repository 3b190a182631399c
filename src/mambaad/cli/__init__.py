"""The command line: arguments and messages only."""

from mambaad.cli.app import main

__all__ = ["main"]
