import json
import shutil
from types import SimpleNamespace

import pytest

from mambaad.artifacts.registry import Registry
from mambaad.errors import ConfigError, RunError
from mambaad.process import process_context
from mambaad.workflows.bundle import bundle as make_bundle
from mambaad.workflows.bundle import check_bundle
from tests.artifacts.test_bundle import manifest_with, members, with_other_shape, write
from tests.killing import kill_at_every_change


@pytest.fixture(scope="module")
def bundle(trained_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "line.mambaad"
    make_bundle(trained_run, path)
    return path


def test_versions_are_added_used_and_rolled_back(bundle, tmp_path):
    registry = Registry(tmp_path / "registry")
    assert registry.lines() == {}
    for number in (1, 2, 3):
        version = registry.add("press-1", bundle, note=f"try {number}", check=check_bundle)
        assert (version.number, version.classes) == (number, ["bolt", "nut"])
    assert registry.read("press-1").current is None
    with pytest.raises(RunError, match="has no version in use"):
        registry.current("press-1")
    for number in (1, 3, 2):
        registry.promote("press-1", number)
    assert registry.current("press-1").read_bytes() == bundle.read_bytes()
    assert [registry.rollback("press-1") for _ in range(2)] == [3, 1]
    with pytest.raises(RunError, match="no version that was in use before"):
        registry.rollback("press-1")
    line = registry.lines()["press-1"]
    assert line.current == 1
    assert [(c.by, c.version) for c in line.changes] == [
        ("promote", 1),
        ("promote", 3),
        ("promote", 2),
        ("rollback", 3),
        ("rollback", 1),
    ]
    assert [v.note for v in line.versions] == ["try 1", "try 2", "try 3"]


def test_what_is_refused_changes_nothing(bundle, tmp_path):
    registry = Registry(tmp_path / "registry")
    registry.add("a", bundle, check=check_bundle)
    before = (tmp_path / "registry" / "a" / "line.json").read_text()
    (tmp_path / "no.mambaad").write_bytes(b"no bundle")
    with pytest.raises(RunError, match="is not a bundle"):
        registry.add("a", tmp_path / "no.mambaad", check=check_bundle)
    with pytest.raises(RunError, match="there is no version 7 of this line; choose from: 1"):
        registry.promote("a", 7)
    with pytest.raises(ConfigError, match="expected letters"):
        registry.add("../a", bundle, check=check_bundle)
    (tmp_path / "registry" / "a" / "1.mambaad").write_bytes(b"something else")
    with pytest.raises(RunError, match="is not the bundle that was added"):
        registry.promote("a", 1)
    assert (tmp_path / "registry" / "a" / "line.json").read_text() == before


def test_the_version_in_use_is_promoted_again(bundle, tmp_path):
    registry = Registry(tmp_path)
    for _ in range(2):
        registry.add("a", bundle, check=check_bundle)
    for number in (1, 2, 2):
        registry.promote("a", number)
    assert [change.version for change in registry.read("a").changes] == [1, 2]
    assert registry.rollback("a") == 1
    # As an earlier version of mambaad would have kept it.
    state = json.loads((tmp_path / "a" / "line.json").read_text())
    (tmp_path / "a" / "line.json").write_text(json.dumps({**state, "used": [1, 2, 2]}))
    assert registry.rollback("a") == 1
    with pytest.raises(RunError, match="no version that was in use before"):
        registry.rollback("a")


@pytest.mark.parametrize("change", [with_other_shape, manifest_with(classes=["bolt"])])
def test_what_would_not_load_is_not_added(bundle, tmp_path, change):
    path = write(tmp_path / "b.mambaad", change(members(bundle)))
    with pytest.raises(RunError) as caught:
        Registry(tmp_path / "registry").add("a", path, check=check_bundle)
    assert "b.mambaad" in str(caught.value)
    assert "mambaad-tmp" not in str(caught.value)
    assert list((tmp_path / "registry").iterdir()) == []


def test_the_copy_is_what_is_verified(bundle, tmp_path, monkeypatch):
    def changed(source, target, length):
        target.write(source.read()[:-100])

    monkeypatch.setattr(shutil, "copyfileobj", changed)
    with pytest.raises(RunError, match=r"line\.mambaad is not a bundle, or a damaged one"):
        Registry(tmp_path).add("a", bundle, check=check_bundle)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_bundle_or_line_leaves_nothing(tmp_path):
    registry = Registry(tmp_path / "registry")
    with pytest.raises(RunError, match="there is no bundle"):
        registry.add("a", tmp_path / "absent.mambaad", check=check_bundle)
    with pytest.raises(RunError, match="there is no line a in"):
        registry.promote("a", 1)
    with pytest.raises(RunError, match="there is no line a in"):
        registry.rollback("a")
    assert list(tmp_path.iterdir()) == []


def test_one_damaged_line_does_not_hide_the_others(bundle, tmp_path):
    registry = Registry(tmp_path)
    registry.add("b", bundle, check=check_bundle)
    for name in ("a", "not a line"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "line.json").write_text("{")
    lines = registry.lines()
    assert list(lines) == ["a", "b"]
    (problem,) = lines["a"].versions
    assert problem.number == 0
    assert "is damaged" in problem.note
    assert lines["a"].current is None
    assert len(lines["b"].versions) == 1


def test_the_version_in_use_is_gone(bundle, tmp_path):
    registry = Registry(tmp_path)
    registry.add("a", bundle, check=check_bundle)
    registry.promote("a", 1)
    (tmp_path / "a" / "1.mambaad").unlink()
    with pytest.raises(RunError, match=r"1\.mambaad, which is in use, does not exist"):
        registry.current("a")


def test_a_newer_line(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "line.json").write_text('{"format": 2, "versions": "otherwise"}')
    with pytest.raises(RunError, match="has format 2, this version reads up to 1; update mambaad"):
        Registry(tmp_path).read("a")


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": true}', '{"adding": 0}', '{"versions": 3}', "[" * 100_000]
)
def test_a_damaged_line(tmp_path, text):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "line.json").write_text(text)
    with pytest.raises(RunError, match="is damaged"):
        Registry(tmp_path).read("a")


def _add(root, bundle):
    Registry(root).add("a", bundle, check=check_bundle)


def test_two_processes_at_once(bundle, tmp_path):
    context = process_context("mambaad.inference.torch_engine")
    processes = [context.Process(target=_add, args=(tmp_path, bundle)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    line = json.loads((tmp_path / "a" / "line.json").read_text())
    assert [version["number"] for version in line["versions"]] == [1, 2]
    assert sorted(path.name for path in (tmp_path / "a").glob("*.mambaad")) == [
        "1.mambaad",
        "2.mambaad",
    ]


def test_a_killed_writer_leaves_nothing(tmp_path):
    bundle = tmp_path / "bundle"
    bundle.write_bytes(b"of any content")
    setup = "from types import SimpleNamespace\nfrom mambaad.artifacts.registry import Registry\n"
    setup += "def check(path): return SimpleNamespace(classes=['nut'])"
    action = "Registry(place).add('a', arguments[0], check=check)"
    place = tmp_path / "registry"
    place.mkdir()
    assert kill_at_every_change(action, place, bundle, setup=setup) > 10
    assert [path.name for path in place.iterdir()] == ["a"]
    versions = json.loads((place / "a" / "line.json").read_text())["versions"]
    names = {path.name for path in (place / "a").iterdir()}
    assert names == {"line.json", *(f"{version['number']}.mambaad" for version in versions)}
    # Even where another bundle comes next, no number is lost.
    assert [version["number"] for version in versions] == list(range(1, len(versions) + 1))


@pytest.mark.parametrize("then", ["add", "promote"])
def test_a_bundle_that_a_kill_left_is_removed_by_the_next_change(tmp_path, then):
    registry, bundle = Registry(tmp_path / "registry"), tmp_path / "bundle"
    folder = tmp_path / "registry" / "a"
    for content in (b"first", b"second"):
        bundle.write_bytes(content)
        registry.add("a", bundle, check=_check_nothing)
    killed = {**json.loads((folder / "line.json").read_text()), "adding": 3}
    (folder / "line.json").write_text(json.dumps(killed))
    (folder / "3.mambaad").write_bytes(b"of a killed call")
    (folder / "4.mambaad").write_bytes(b"of a user")
    assert len(registry.read("a").versions) == 2
    if then == "promote":
        registry.promote("a", 2)
        assert not (folder / "3.mambaad").exists()
    bundle.write_bytes(b"third")
    assert [registry.add("a", bundle, check=_check_nothing).number for _ in range(2)] == [3, 5]
    assert (folder / "3.mambaad").read_bytes() == b"third"
    assert (folder / "4.mambaad").read_bytes() == b"of a user"
    assert "adding" not in json.loads((folder / "line.json").read_text())


def _check_nothing(path):
    return SimpleNamespace(classes=["nut"])


def test_a_copy_of_the_folder_is_a_registry_too(bundle, tmp_path):
    registry = Registry(tmp_path / "one")
    registry.add("a", bundle, check=check_bundle)
    registry.promote("a", 1)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert Registry(tmp_path / "two").current("a") == tmp_path / "two" / "a" / "1.mambaad"
