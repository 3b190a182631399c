"""Verdicts as JUnit XML, which CI servers display and count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Case:
    """A test case: one image of a product, its outcome, and the reason.

    ``suite``: the product. ``outcome``: ``passed``; ``failed``; ``skipped``, for parts that need
    review by a person; ``error``, for images without a decision. ``message``: the reason.
    """

    suite: str
    name: str
    outcome: str
    message: str = ""


def junit_xml(cases: Iterable[Case]) -> str:
    """Render a test suite for each product and a test case for each image as XML."""
    suites: dict[str, list[Case]] = {}
    for case in cases:
        suites.setdefault(case.suite, []).append(case)
    root = ElementTree.Element(
        "testsuites",
        _counts([case for cases_of_suite in suites.values() for case in cases_of_suite]),
    )
    for name, cases_of_suite in suites.items():
        suite = ElementTree.SubElement(
            root, "testsuite", {"name": _clean(name), **_counts(cases_of_suite)}
        )
        for case in cases_of_suite:
            attributes = {"classname": _clean(name), "name": _clean(case.name)}
            element = ElementTree.SubElement(suite, "testcase", attributes)
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
    """Replace characters that XML cannot hold; a file name may have any."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
