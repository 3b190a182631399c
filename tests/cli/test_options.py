"""Names that are given on the command line, whatever their characters."""

from mambaad.cli.options import names


def test_names():
    def unasked():
        raise AssertionError("the names matter only where there are commas or spaces")

    assert names(None, unasked) is None
    assert names(["a", "--b", "ü"], unasked) == ("a", "--b", "ü")
    known = ["a", "b", "a,b", " c ", "ü, v", "d"]
    assert names(["a,b"], lambda: known) == ("a,b",)
    assert names(["a, d", "u\u0308, v"], lambda: known) == ("a", "d", "u\u0308, v")
    assert names([" c ", " d"], lambda: known) == (" c ", "d")
    assert names([""], lambda: known) == ("",)
