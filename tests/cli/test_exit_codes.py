"""The table of exit codes in the documents is that of the code, and no command has others."""

import ast
import re
from pathlib import Path

import mambaad.cli
from mambaad.cli.exit_codes import ExitCode

ROOT = Path(__file__).parents[2]
SOURCES = sorted(Path(mambaad.cli.__file__).parent.glob("*.py"))


def test_the_documented_table_is_that_of_the_code():
    page = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| .+ \|$", page, re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(c.value, c.name) for c in ExitCode]


def test_commands_end_with_codes_of_the_table_alone():
    ends = []
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit"):
                ends.append((file.name, ast.unparse(node.args[0])))
    assert len(ends) >= 8
    for name, code in ends:
        assert re.fullmatch(r"ExitCode\.[A-Z]+", code), (name, code)
