"""Fixtures of several tests: the files beside the project, and the released model's values."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Before Triton is imported: without a GPU its kernels run in its interpreter.
if not Path("/dev/nvidiactl").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Before mambaad is imported: where tensors travel, their shapes are checked while testing.
import jaxtyping

import tests.shape_checks  # noqa: F401  # by name, below

_tensors = (
    "data",
    "inference",
    "inspection",
    "metrics",
    "models",
    "ops.instance_norm",
    "ops.selective_scan.dispatch",
    "ops.selective_scan.reference",
    "ops.selective_scan.vectorised",
    "report",
)
_hook = jaxtyping.install_import_hook(
    [f"mambaad.{name}" for name in _tensors], "tests.shape_checks.check"
)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

import mambaad  # noqa: E402
from mambaad.progress import show_progress  # noqa: E402
from mambaad.workflows.calibrate import calibrate  # noqa: E402

SHARED = Path(__file__).parents[1].parent / "shared"

LONGEST = (
    "test_attack.py",
    "test_compiles.py",
    "test_demo.py",
    "test_train.py",
    "test_compiled.py",
    "test_mixed_precision.py",
    "test_calibrate.py",
    "test_triton.py",
    "test_quickstart.py",
    "test_anomalib.py",
    "test_extend.py",
    "test_predict.py",
    "test_runner.py",
    "test_drift_of_images.py",
    "test_whole_service.py",
    "test_line.py",
    "test_browser.py",
    "test_new_bundle.py",
    "test_tutorials.py",
    "test_site.py",
    "test_ray_train.py",
    "test_on_ray.py",
    "test_graph.py",
    "test_speed.py",
    "test_real_images.py",
    "test_kills.py",
    "test_c.py",
    "test_shared_modules.py",
)
"""The files of tests that take longest, a quarter of a minute or more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def needs_shared(path: str) -> Path:
    """A file or folder beside the project, or a skip that says what is missing."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs {found.name}, which is not part of the project")
    return found


@pytest.fixture(scope="session")
def golden() -> Mapping[str, np.ndarray]:
    """Values computed with the released model."""
    with np.load(needs_shared("golden/mambaad_reference.npz")) as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def released_shapes() -> dict[str, list[int]]:
    """Every released tensor outside the encoder, with its shape."""
    path = needs_shared("golden/official_state_dict_keys.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def users_checks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What users get: while testing, jaxtyping would refuse wrong arguments first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def real_data() -> Path:
    return needs_shared("data/real")


@pytest.fixture
def resnet18_weights() -> Path:
    return needs_shared("weights/resnet18_imagenet_to_layer3.safetensors")


def fill(shapes: Mapping[str, tuple[int, ...] | list[int]]) -> dict[str, torch.Tensor]:
    """Weights by the rule of the reference values: random, fixed by each tensor's name."""
    weights = {}
    for key, shape in shapes.items():
        if "index_flat" in key:
            continue
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.tensor(0)
            continue
        random = np.random.RandomState(zlib.crc32(key.encode()))
        r = np.asarray(random.standard_normal(shape)).astype(np.float32)
        if key.endswith("running_var"):
            r = 1 + 0.5 * abs(r)
        elif key.endswith("running_mean"):
            r = 0.1 * r
        elif key.endswith("A_logs"):
            r = np.log(np.arange(1, shape[-1] + 1)) + 0.05 * r
        elif key.endswith("Ds"):
            r = 1 + 0.1 * r
        elif key.endswith("dt_projs_bias"):
            r = -4 + 0.5 * r
        elif len(shape) >= 2:
            r = r / np.sqrt(shape[-1] if len(shape) == 3 else np.prod(shape[1:]))
        else:
            r = 1 + 0.1 * r if key.endswith(".weight") else 0.1 * r
        weights[key] = torch.from_numpy(np.asarray(r, dtype=np.float32))
    return weights


SMALL: dict[str, Any] = {
    "variant": "lite",
    "encoder": "resnet18",
    "encoder_weights": "random",
    "size": "64",
    "directions": 2,
    "epochs": 2,
    "batch_size": 4,
}
"""Settings with which training takes seconds."""

SMALL_BASE: dict[str, Any] = {**SMALL, "variant": "base", "depths": (1, 1, 1, 1)}
"""The same, of the published decoder's width."""


def make_parts(root: Path, *, train: int = 6, classes: tuple[str, ...] = ("bolt", "nut")) -> Path:
    """A data set in MVTec AD layout: discs and stripes of 80 x 72 px, with spots."""
    rows, columns = np.mgrid[:80, :72]
    for number, name in enumerate(classes):
        random = np.random.default_rng(number)
        shape = np.hypot(rows - 40, columns - 36) < 25 if number % 2 == 0 else columns // 9 % 2 == 0
        for folder, count in (("train/good", train), ("test/good", 3), ("test/spot", 3)):
            for i in range(count):
                pixels = 60 + 120 * shape[..., None] + random.normal(0, 6, (80, 72, 3))
                path = root / name / folder / f"{i:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                if folder == "test/spot":
                    row, column = random.integers(10, 60, 2)
                    mask = np.hypot(rows - row, columns - column) < 8
                    pixels[mask] = (230, 20, 20)
                    mask_path = root / name / "ground_truth" / "spot" / f"{i:03}_mask.png"
                    mask_path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(mask.astype(np.uint8) * 255).save(mask_path)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, each of 6 good parts to train on, 3 good and 3 defective ones; read only."""
    return make_parts(tmp_path_factory.mktemp("data") / "parts")


@pytest.fixture(scope="session")
def trained_run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on :func:`parts`; not to be changed."""
    return mambaad.train(parts, tmp_path_factory.mktemp("runs") / "run", **SMALL)


@pytest.fixture(scope="session")
def many_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As :func:`parts`, with 30 good parts of each class to train on; read only."""
    return make_parts(tmp_path_factory.mktemp("data") / "many", train=30)


@pytest.fixture(scope="session")
def calibrated_run(many_parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on :func:`many_parts`, calibrated on the 15 a class kept out; not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "calibrated"
    mambaad.train(many_parts, run, **SMALL_BASE, holdout=0.5)
    calibrate(run, many_parts, target_fpr=0.1, review_fpr=0.2)
    return run


show_progress()  # as the command line does: many tests read what a command says
os.environ.setdefault("COLUMNS", "120")  # rich's help pages, the same on every terminal
torch.set_num_threads(1)  # such small networks are slower with more
