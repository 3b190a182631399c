"""A whole data set: layout, manifest, processes, and nothing left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mambaad.data.images import read_image
from mambaad.data.mask_files import read_mask
from mambaad.data.readers.mvtec import LAYOUT as MVTEC
from mambaad.data.synthetic import factory
from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.factory import make_data
from mambaad.data.synthetic.render import render_part
from mambaad.errors import ConfigError, DataError, MambaADError, RunError
from tests.killing import kill_at_every_change

SMALL: dict[str, Any] = {"train": 2, "test": 5, "size": 64, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, read only."""
    return make_data(tmp_path_factory.mktemp("factory") / "data", ["metal", "kit"], **SMALL)


def manifest_of(root: Path) -> dict[str, Any]:
    return json.loads((root / "manifest.json").read_text(encoding="utf-8"))


def files_of(root: Path) -> dict[str, str]:
    """Every file's name and hash."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_layout_is_mvtecs(made: Path) -> None:
    kit, metal = MVTEC.read(made, split="train")
    assert (kit.name, metal.name) == ("kit", "metal")
    for product in (kit, metal):
        assert len(product.train) == 2
        assert [s.defect_type for s in product.test].count("good") == 3
        bad = [s for s in product.test if s.is_defective]
        assert [s.defect_type for s in bad] == sorted(PRODUCTS[product.name].defects[:2])
        for sample in bad:
            assert sample.mask_path is not None
            assert read_mask(sample.mask_path).any()
            assert read_image(sample.path).shape == (64, 64, 3)
    assert [p.test for p in MVTEC.read(made, split="test")] == [kit.test, metal.test]


def test_the_manifest_says_how_every_image_was_made(made: Path) -> None:
    manifest = manifest_of(made)
    assert manifest["format"] == factory.FORMAT
    assert {name: manifest[name] for name in SMALL} == SMALL
    assert manifest["versions"].keys() == {"mambaad", "numpy", "pillow", "scipy"}
    listed = {entry["path"] for entry in manifest["images"]}
    listed |= {entry["mask"] for entry in manifest["images"] if "mask" in entry}
    assert listed | {"manifest.json"} == set(files_of(made))
    assert len({entry["seed"] for entry in manifest["images"]}) == 14


def test_every_image_can_be_made_again_from_its_entry(made: Path, tmp_path: Path) -> None:
    manifest = manifest_of(made)
    for entry in manifest["images"]:
        part = render_part(
            entry["product"],
            entry["seed"],
            size=manifest["size"],
            defect=entry["defect"] and entry["defect"]["kind"],
            difficulty=manifest["difficulty"],
        )
        np.testing.assert_array_equal(read_image(made / entry["path"]), part.image)
        assert hashlib.sha256(part.image.tobytes()).hexdigest() == entry["pixels"]
        assert part.parameters == {k: entry[k] for k in ("product", "drawn", "defect")}
        if entry["defect"]:
            np.testing.assert_array_equal(read_mask(made / entry["mask"]), part.mask)
            assert part.mask.sum() == entry["defect"]["area"]
            mask = np.asarray(Image.open(made / entry["mask"]))
            assert set(np.unique(mask)) == {0, 255}


def test_processes_draw_what_one_draws(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "_processes", lambda jobs: 2)
    again = make_data(tmp_path / "again", ["metal", "kit"], **SMALL)
    assert files_of(again) == files_of(made)
    assert manifest_of(again) == manifest_of(made)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_more_images_leave_the_others_as_they_are(made: Path, tmp_path: Path) -> None:
    more = make_data(tmp_path / "more", ["metal"], **{**SMALL, "train": 3})
    before, after = files_of(made / "metal"), files_of(more / "metal")
    assert before.items() < after.items()


def test_another_seed_gives_other_parts(made: Path, tmp_path: Path) -> None:
    other = make_data(tmp_path / "other", ["metal"], **{**SMALL, "seed": 4})
    assert not set(files_of(other).values()) & set(files_of(made).values())


def test_an_empty_folder_is_used_and_a_full_one_refused(tmp_path: Path) -> None:
    out = tmp_path / "data"
    out.mkdir()
    make_data(out, ["metal"], train=2, test=0, size=64)
    assert len(MVTEC.read(out)[0].train) == 2
    before = files_of(tmp_path)
    with pytest.raises(DataError, match="not an empty folder; give another place") as caught:
        make_data(out, ["metal"], **SMALL)
    assert str(out) in str(caught.value)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"classes": ["metal", "spoon"]}, "no product 'spoon'; choose from fabric"),
        ({"classes": []}, "--classes: none given; choose from fabric"),
        ({"train": 1}, "--train: expected 2 to"),
        ({"test": -1}, "--test: expected 0 to"),
        ({"size": 48}, "--size: expected a multiple of 32 from 64 to 1024, got 48"),
        ({"difficulty": -0.1}, "--difficulty: expected 0 (easy) to 1 (hard), got -0.1"),
        ({"seed": -2}, "--seed: expected 0 or more, got -2"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_data(tmp_path / "data", **{"classes": ["metal"], **SMALL, **arguments})
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    for out in (tmp_path / "file", tmp_path / "no" / "such", tmp_path / "file" / "data"):
        with pytest.raises(MambaADError):
            make_data(out, ["metal"], **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("raised", "seen"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "No space left on device"), RunError)],
)
def test_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, seen: type
) -> None:
    draw = factory._draw
    drawn = []

    def draw_some(*arguments: Any) -> dict[str, Any]:
        if len(drawn) == 3:
            raise raised
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(factory, "_draw", draw_some)
    with pytest.raises(seen):
        make_data(tmp_path / "data", ["metal"], **SMALL)
    assert len(drawn) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from mambaad.cli.app import main\n"
        "from mambaad.data.synthetic import factory\n"
        "factory._processes = lambda jobs: 2\n"
        "if __name__ == '__main__':\n"
        f"    sys.argv = ['mambaad', 'make-data', {str(tmp_path / 'data')!r}, '--train', '999']\n"
        "    main()\n"
    )
    script = tmp_path / "script.py"
    script.write_text(program)
    # A session of its own: what a terminal does with Ctrl-C, to the whole group.
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 60
    while not list(tmp_path.glob("*tmp/*/*/*/*.png")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.startswith("mambaad: interrupted; nothing was written; again with: mambaad")
    assert errors.count("\n") == 1
    assert process.returncode == 130
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_long_name_is_called_long(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"File name too long.; choose a shorter name"):
        make_data(tmp_path / ("a" * 300), ["metal"], **SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="forks and kills as other systems do")
def test_a_kill_leaves_nothing(tmp_path: Path) -> None:
    setup = "from mambaad.data.synthetic.factory import make_data\n"
    setup += "def make(out):\n    if not out.exists():  # killed after all was done\n"
    setup += "        make_data(out, ['metal'], train=2, test=0, size=64)"
    assert kill_at_every_change("make(place / 'data')", tmp_path, setup=setup, step=2) > 5
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert len(files_of(tmp_path)) == 3


def test_two_at_once_into_one_place_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, refused = factory._draw_all, []

    def second(*arguments: Any) -> Any:
        with ThreadPoolExecutor(1) as pool, pytest.raises(RunError, match="is being written by"):
            pool.submit(make_data, tmp_path / "data", ["metal"], **SMALL).result()
        refused.append(True)
        return draw(*arguments)

    monkeypatch.setattr(factory, "_draw_all", second)
    make_data(tmp_path / "data", ["metal"], **SMALL)
    assert refused
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
