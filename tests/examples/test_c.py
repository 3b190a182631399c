"""The examples in C: the resize against Pillow's, and an inspection against the Inspector's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mambaad.errors import ConfigError
from mambaad.inference.operator_library import library_path
from mambaad.inspection.inspector import Inspector

C = Path(__file__).parents[2] / "examples" / "c"
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform != "linux", reason="needs a C compiler on Linux"
)
STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compiled(program, sources, *more):
    """Compile one of the examples into a program."""
    command = [COMPILER, *STRICT, *(C / name for name in sources), "-o", program, "-lm", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return program


def test_resize_is_pillows_bit_for_bit(tmp_path):
    subprocess.run([sys.executable, C / "resize_vectors.py", tmp_path], check=True, timeout=120)
    program = compiled(tmp_path / "vectors", ["resize.c", "resize_vectors.c"])
    subprocess.run([program, tmp_path / "given", tmp_path / "result"], check=True, timeout=120)
    expected = (tmp_path / "expected").read_bytes()
    assert len(expected) > 10**6
    assert (tmp_path / "result").read_bytes() == expected


def runtime_libraries():
    """onnxruntime's shared library in its Python packages: the newest, and the oldest promised."""
    onnxruntime = pytest.importorskip("onnxruntime")
    yield from (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    if older := os.environ.get("MAMBAAD_OLDER_ONNXRUNTIME"):
        yield from Path(older).glob("onnxruntime/capi/libonnxruntime.so.*")


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The example, linked to each onnxruntime."""
    folder = tmp_path_factory.mktemp("inspect")
    programs = []
    for number, library in enumerate(runtime_libraries()):
        place = folder / str(number)
        place.mkdir()
        (place / "libonnxruntime.so.1").symlink_to(library)  # the name that the program looks for
        rpath = f"-Wl,-rpath,{place}"
        programs.append(compiled(place / "inspect", ["inspect.c", "resize.c"], library, rpath))
    assert programs
    return programs


@pytest.fixture(scope="module")
def exported(calibrated_run, tmp_path_factory):
    pytest.importorskip("onnxscript")
    from mambaad.workflows.export import export

    out = tmp_path_factory.mktemp("exports") / "onnx"
    export(calibrated_run, out)
    return out


def run(program, *arguments):
    return subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def test_inspection_in_c_says_what_the_inspector_says(programs, exported, many_parts, tmp_path):
    manifest = json.loads((exported / "export.json").read_text())
    size = [manifest["preprocessing"][side] for side in ("height", "width")]
    thresholds = manifest["thresholds"]["bolt"]
    inspector = Inspector(exported)
    try:
        libraries = [library_path(), "-"]
    except ConfigError:
        libraries = ["-"]
    files = sorted((many_parts / "bolt" / "test").glob("*/*.png"))[::3]
    assert files
    for file in files:
        prediction = inspector.inspect(file, "bolt")
        Image.open(file).convert("RGB").save(tmp_path / "part.ppm")
        for program in programs:
            for library in libraries:
                done = run(program, exported, library, tmp_path / "part.ppm", *size,
                           thresholds["review"], thresholds["fail"])  # fmt: skip
                assert done.returncode == 0, done.stderr
                said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
                assert float(said["score"]) == pytest.approx(prediction.score, abs=1e-5)
                assert said["verdict"] == prediction.verdict.value


def test_errors_in_c_are_one_line(programs, exported, tmp_path):
    image = tmp_path / "part.ppm"
    Image.new("RGB", (9, 7)).save(image)
    (tmp_path / "short.ppm").write_bytes(image.read_bytes()[:-1])
    (tmp_path / "text.ppm").write_text("P6 of nothing")
    good = [exported, "-", image, 64, 64, 1, 2]
    for place, wrong, message in [
        (0, tmp_path / "none", "onnxruntime: "),
        (1, tmp_path / "none.so", "onnxruntime: "),
        (2, tmp_path / "none.ppm", "cannot be opened"),
        (2, tmp_path / "short.ppm", "ends too early"),
        (2, tmp_path / "text.ppm", "expected a binary PPM"),
        (3, 0, "HEIGHT, WIDTH"),
        (3, 63, "onnxruntime: "),
    ]:
        done = run(programs[0], *good[:place], wrong, *good[place + 1 :])
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "usage: " in run(programs[0]).stderr
