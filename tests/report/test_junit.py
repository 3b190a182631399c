from xml.etree import ElementTree

from mambaad.report.junit import Case, junit_xml


def test_counts_and_cases():
    text = junit_xml(
        [
            Case("bolt", "a.png", "passed"),
            Case("bolt", "b.png", "failed", "peak <2> & more"),
            Case("nut", "c\x00\x1b.png", "error", "cannot be read"),
            Case("nut", "d.png", "skipped", "look at it"),
        ]
    )
    root = ElementTree.fromstring(text)
    counts = {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    assert root.attrib == counts
    bolt, nut = root
    assert bolt.get("name") == "bolt"
    assert (bolt.get("failures"), nut.get("errors"), nut.get("skipped")) == ("1", "1", "1")
    assert [len(case) for case in bolt] == [0, 1]
    assert bolt[1][0].tag == "failure"
    assert bolt[1][0].get("message") == "peak <2> & more"
    assert nut[0].get("name") == r"c\x00\x1b.png"
    assert [case[0].tag for case in nut] == ["error", "skipped"]


def test_nothing_inspected():
    assert ElementTree.fromstring(junit_xml([])).get("tests") == "0"


def test_odd_names_are_shown_and_the_xml_is_valid():
    odd = "a\x00\x1b\x85\u202e\u2066\ufffe\udcff\n\tb"
    root = ElementTree.fromstring(junit_xml([Case(odd, odd, "error", odd)]))
    shown = r"a\x00\x1b\x85\u202e\u2066\ufffe\xff\n\tb"
    assert root[0].get("name") == root[0][0].get("name") == root[0][0][0].get("message") == shown
