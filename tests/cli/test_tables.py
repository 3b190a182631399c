"""Tables for people."""

from mambaad.cli.tables import aligned


def test_a_very_long_cell_is_cut():
    lines = aligned([["class", "types"], ["bolt", "\udcff" * 700]], last_is_text=True).splitlines()
    assert lines[1].startswith(r"bolt   \xff\xff")
    assert lines[1].endswith(" ...")
    assert len(lines[1]) < 900
