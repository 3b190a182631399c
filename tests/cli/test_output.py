"""Names of files and classes cannot act on the terminal that they are printed on."""

import pytest

from mambaad.cli.output import show
from mambaad.cli.tables import aligned

# Clears the screen, ends the line, writes the rest from right to left.
ODD = "a\x1b[2J\u202eb\x9b\u2066"
SHOWN = r"a\x1b[2J\u202eb\x9b\u2066"


@pytest.mark.parametrize("err", [False, True])
def test_lines_are_kept_and_odd_characters_shown(capsys, err):
    show(f"{ODD}\nné 日本", err=err)
    printed = capsys.readouterr()
    assert (printed.err if err else printed.out) == f"{SHOWN}\nné 日本\n"


def test_a_cell_stays_in_its_line():
    table = aligned([["class", "n"], ["x\ny" + ODD, "1"]])
    first, second = table.split("\n")
    assert second.startswith(r"x\ny" + SHOWN)
    assert len(first) == len(second)


def test_a_class_with_an_odd_name_is_listed(mambaad_command, parts, tmp_path):
    odd = tmp_path / "data" / f"x{ODD}"
    odd.parent.mkdir()
    odd.symlink_to(parts / "nut")
    code, out, err = mambaad_command("data", "check", odd.parent)
    assert code == 0
    assert SHOWN in out
    assert (out + err).replace("\n", "").isprintable()
