"""Verdicts as JUnit XML, which CI servers display and count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from mambaad.files import printable


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
            root, "testsuite", {"name": printable(name), **_counts(cases_of_suite)}
        )
        for case in cases_of_suite:
            attributes = {"classname": printable(name), "name": printable(case.name)}
            element = ElementTree.SubElement(suite, "testcase", attributes)
            if case.outcome != "passed":
                tag = {"failed": "failure"}.get(case.outcome, case.outcome)
                ElementTree.SubElement(element, tag, {"message": printable(case.message)})
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
