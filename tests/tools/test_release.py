"""What a release is made of agrees: versions, the changelog, and the bounds of dependencies."""

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11; pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
NAMED = ("pyproject.toml", "CHANGELOG.md", "CITATION.cff", "tools/release.sh")


PROJECTS = [
    tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]
    for name in ("pyproject.toml", "runtime/pyproject.toml")
]
VERSION = PROJECTS[0]["version"]
DEPENDENCIES = {
    each
    for project in PROJECTS
    for group in (project["dependencies"], *project.get("optional-dependencies", {}).values())
    for each in group
    if not each.startswith("mambaad[")
}


def test_one_version_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert {project["version"] for project in PROJECTS} == {VERSION, version("mambaad")}
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE).group(1) == VERSION
    assert re.search(r"^version: (\S+)$", citation, re.MULTILINE).group(1) == VERSION


@pytest.mark.parametrize(
    "line", sorted({each for each in DEPENDENCIES if not each.startswith("mambaad[")})
)
def test_every_dependency_has_both_ends(line):
    bounds = {each.operator for each in Requirement(line).specifier}
    assert bounds >= {">=", "<"}


@pytest.fixture
def project(tmp_path):
    """A repository with what the release looks at first."""
    for name in NAMED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def git(folder, *arguments):
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "found", "replaced", "said"),
    [
        ("CHANGELOG.md", f"## {VERSION} ", "## 9.9.9 ", "CHANGELOG.md has no section"),
        ("CITATION.cff", f"version: {VERSION}", "version: 9.9.9", "CITATION.cff has another"),
        ("CHANGELOG.md", "# Changelog", "# Changes", "there are uncommitted changes"),
    ],
)
def test_a_release_that_does_not_agree_is_refused(project, name, found, replaced, said):
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "All of it")
    text = (project / name).read_text(encoding="utf-8")
    assert found in text
    (project / name).write_text(text.replace(found, replaced), encoding="utf-8")
    done = subprocess.run(["bash", "tools/release.sh"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"release: {said}")
    assert done.stderr.count("\n") == 1
    assert not (project / "dist").exists()
