"""The documentation site: Sphinx over the Markdown pages of the repository, where they lie.

``python -m sphinx -W --keep-going -q -c docs . site`` builds it into ``site/``, offline. The root
of the sources is the repository, so that the links between pages are those that a reader of the
repository follows. Warnings are errors: of links, their anchors, and a page in no navigation.
"""

import importlib.metadata
import re
import subprocess
import sys
from inspect import formatannotation
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from mambaad.config import TrainConfig

project = "MambaAD"
author = copyright = "The MambaAD developers"
version = release = importlib.metadata.version("mambaad")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/**.md",
    "examples/**/README.md",
    "runtime/README.md",
    "tests/attack/README.md",
    "src/mambaad/**/README.md",
]
# Not looked into: the walk would take longer than the build.
exclude_patterns = [".*", "build", "site", "runs", "node_modules", "**/__pycache__"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a page may begin below the first level, as generated ones do

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
default_role = "code"  # names between single backticks in docstrings
highlight_language = "sh"
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"MambaAD {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]
html_copy_source = False
html_show_sphinx = False


def add_made(app: Sphinx, page: str, source: list[str]) -> None:
    """End two pages of the reference with what is made from the code itself."""
    made = {"docs/reference/commands": commands, "docs/reference/settings": settings}
    if page in made:
        source[0] += made[page]()


def commands() -> str:
    """Every command, as Typer describes it, below the title that the page has."""
    described = subprocess.run(
        [sys.executable, "-m", "typer", "mambaad.cli.app", "utils", "docs", "--name", "mambaad"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # An argument's name is its placeholder, as in the commands' own help.
    described = re.sub(r"(\* `\[?[A-Z]+\]?(\.\.\.)?) <[^>]+>`", r"\1`", described)
    return re.sub(r"\{([A-Z]+)\}", r"\1", described).split("\n", 1)[1]


def values(kind: Any) -> str:
    """What a setting may be, without the None of those whose default depends on others."""
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(values(each) for each in get_args(kind) if each is not NoneType)
    return f"`{formatannotation(kind)}`"


def settings() -> str:
    """A table of all settings: name, values, default and meaning."""
    rows = ["| setting | values | default | |", "|---|---|---|---|"]
    for name, field in TrainConfig.model_fields.items():
        cells = (
            f"`{name}`",
            values(field.annotation),
            f"`{field.default}`",
            field.description or "",
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def inline_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write an equation as MathML, which browsers draw without a script."""
    self.body.append(LatexToMathML().convert_with_local_state(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def display_math(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation on a line of its own, which scrolls where the screen is narrow."""
    equation = LatexToMathML().convert_with_local_state(node.astext(), displaystyle=True)
    self.body.append(f'<div class="math">{equation}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Add to Sphinx what this site needs."""
    app.connect("source-read", add_made)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
