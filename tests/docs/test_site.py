"""The documentation site: whole, and sufficient to itself."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer

import mambaad
from mambaad.cli.app import app
from mambaad.config import TrainConfig

pytest.importorskip("sphinx")

ROOT = Path(__file__).parents[2]
LOADED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""The elements for which a browser makes requests by itself, but for links that only describe."""


def build(pages, out):
    """Build the site of a folder of pages, as the site is: warnings are errors."""
    command = [sys.executable, "-m", "sphinx", "-EW", "--keep-going", "-q", "-c", ROOT / "docs"]
    return subprocess.run([*command, pages, out], capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built where ``.ci/run`` says, or in a temporary folder."""
    named = os.environ.get("MAMBAAD_SITE")
    out = Path(named) if named else tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0, done.stderr
    return out


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def requests_of(text):
    for tag, attributes in Elements(text).found:
        described = attributes.get("rel") in ("canonical", "index", "search", "next", "prev")
        if tag in LOADED and attributes.get(LOADED[tag]) and not described:
            yield attributes[LOADED[tag]]


def text_of(page):
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for target in requests_of(page.read_text(encoding="utf-8")):
            local = target.split("?")[0].split("#")[0]
            assert "//" not in local, f"{page}: {target}"
            assert (page.parent / local).exists(), f"{page}: {target}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text()), sheet


def test_the_search_knows_the_pages_without_a_server(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert index.startswith("Search.setIndex(")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f'"{page.relative_to(ROOT).with_suffix("").as_posix()}"' in index


def test_every_command_and_option_is_in_the_reference(site):
    text = text_of(site / "docs" / "reference" / "commands.html")

    def check(command, words):
        assert " ".join(words) in text
        for parameter in command.params:
            for flag in parameter.opts:
                if flag.startswith("--") and not getattr(parameter, "hidden", False):
                    assert flag in text, f"{words}: {flag}"
        for name, child in getattr(command, "commands", {}).items():
            check(child, [*words, name])

    check(typer.main.get_command(app), ["mambaad"])


def test_every_public_name_and_setting_is_in_the_reference(site):
    page = (site / "docs" / "reference" / "python.html").read_text(encoding="utf-8")
    missing = [name for name in mambaad.__all__ if f'id="mambaad.{name}"' not in page]
    assert missing == ["__version__"]  # a value, in words
    assert "mambaad.__version__" in text_of(site / "docs" / "reference" / "python.html")
    settings = text_of(site / "docs" / "reference" / "settings.html")
    assert all(name in settings for name in TrainConfig.model_fields)
    assert all(field.description for field in TrainConfig.model_fields.values())


def test_equations_are_drawn_by_the_browser_itself(site):
    page = (site / "docs" / "maths.html").read_text(encoding="utf-8")
    assert page.count("<math") > 30
    assert "merror" not in page
    assert "\\(" not in text_of(site / "docs" / "maths.html")


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("", "lost.md: WARNING: document isn't included in any toctree"),
        ("[there](nowhere.md)", "nowhere"),
        ("[there](lost.md#nowhere)", "nowhere"),
    ],
)
def test_what_leads_nowhere_fails_the_build(tmp_path, index, said):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "lost.md").write_text("# Lost\n")
    navigation = "" if not index else "\n```{toctree}\nlost\n```\n"
    (docs / "index.md").write_text(f"# Index\n\n{index}\n{navigation}")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert said in done.stderr
