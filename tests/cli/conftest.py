"""The command line, called as from a shell."""

import sys

import pytest

from mambaad.cli.app import main


@pytest.fixture
def mambaad_command(monkeypatch, capsys):
    """Run ``mambaad`` with arguments: exit code, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mambaad", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run
