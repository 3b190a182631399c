"""Verdicts as JUnit XML, which build servers show and count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """An image of a product: what to call it, its outcome, and why.

    ``outcome``: ``passed``; ``failed``; ``skipped``, for parts that a person is to look at;
    ``error``, where nothing could be said.
    """

    suite: str
    name: str
    outcome: str
    message: str = ""


def junit_xml(cases: Iterable[Case]) -> str:
    """A test suite for each product, a test case for each image, as XML text."""
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ElementTree.Element("testsuites", _counts([c for some in suites.values() for c in some]))
    for name, some in suites.items():
        suite = ElementTree.SubElement(root, "testsuite", {"name": _clean(name), **_counts(some)})
        for case in some:
            about = {"classname": _clean(name), "name": _clean(case.name)}
            element = ElementTree.SubElement(suite, "testcase", about)
            if case.outcome != "passed":
                tag = {"failed": "failure"}.get(case.outcome, case.outcome)
                ElementTree.SubElement(element, tag, {"message": _clean(case.message)})
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failed")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
    }


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold: a file's name may have any."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
