"""`mambaad inspect` under kills, its speed, its memory of a million rows: results/shards.json.

python benchmarks/shards.py small.mambaad kills                 # 20 of workers, 5 of the command
python benchmarks/shards.py line.mambaad speed                  # processes over two threads
python benchmarks/shards.py line.mambaad ray                    # Ray over processes
python benchmarks/shards.py small.mambaad resume memory         # a million rows
python benchmarks/shards.py small.mambaad evaluate              # 100,000 maps

--quick takes a twentieth of everything. Each result replaces that of the same name.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "shards.json"
TIME = "2026-01-01T00:00:00+00:00"
SIDE = 64  # of drawn images, in pixels


def draw(folder: Path, number: int) -> Path:
    """Draw small images, all different."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(0)
    ground = chance.integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(number):
        pixels = np.roll(ground, (i % SIDE, i // SIDE % SIDE), (0, 1))
        pixels[i % 50 : i % 50 + 8, :8] = i % 256
        Image.fromarray(pixels).save(folder / f"{i:06}.png", compress_level=1)
    return folder


def command(bundle: Path, source: Path, out: Path, *options: object) -> list[str]:
    arguments = [bundle, source, "--out", out, "--time", TIME, *options]
    return [sys.executable, "-m", "mambaad", "inspect", *map(str, arguments)]


def contents(out: Path) -> dict[str, bytes]:
    paths = (path for path in out.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def done_in(out: Path) -> int:
    return len(list((out / "done").glob("*.json")))


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that have a model: those that the command's fork server has made."""
    try:
        below = psutil.Process(pid).children(recursive=True)
        return [one for one in below if one.ppid() != pid]
    except psutil.NoSuchProcess:
        return []


def kills(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """Kill workers, then the command, at random moments; compare with a job that nothing killed."""
    number, chance = int(20_000 * scale), random.Random(0)
    images = draw(place / "images", number)
    size = 64 if scale < 1 else 256
    options = ("--shard-size", size)
    subprocess.run(command(bundle, images, place / "undisturbed", *options), check=False)
    expected, shards = contents(place / "undisturbed"), -(-number // size)

    def moments(count: int) -> list[int]:
        return sorted(chance.sample(range(1, shards - 2), min(count, shards - 3)))

    out, killed = place / "workers", 0
    job = subprocess.Popen(command(bundle, images, out, *options))
    for moment in moments(20):
        while done_in(out) < moment and job.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.random() * 0.5)
        if workers := workers_of(job.pid):
            chance.choice(workers).kill()
            killed += 1
    worker_code = job.wait()
    worker_kills, same_after_workers = killed, contents(out) == expected

    out, killed = place / "drivers", 0
    for moment in moments(5):
        job = subprocess.Popen(command(bundle, images, out, *options, "--resume"))
        while done_in(out) < moment and job.poll() is None:
            time.sleep(0.02)
        killed += job.poll() is None
        job.kill()
        job.wait()
    driver_code = subprocess.run(
        command(bundle, images, out, *options, "--resume"), check=False
    ).returncode
    rows = sum(path.read_bytes().count(b"\n") for path in (out / "jsonl").iterdir())
    return {
        "images": number,
        "kills of workers": worker_kills,
        "same bytes after them": same_after_workers,
        "kills of the command": killed,
        "same bytes after these": contents(out) == expected,
        "rows": rows,
        "exit codes": [worker_code, driver_code],
    }


_TWO_THREADS = """
import sys, time, torch
from pathlib import Path
torch.set_num_threads(2)
from mambaad.inspection.inspector import Inspector
inspector = Inspector(sys.argv[1], device="cpu")
paths, first = sorted(Path(sys.argv[2]).iterdir()), int(sys.argv[3])
for done, _ in enumerate(inspector.inspect_items(map(inspector.item, paths)), 1):
    if done == first:
        began = time.perf_counter()
print((len(paths) - first) / (time.perf_counter() - began))
"""


def rate(bundle: Path, images: Path, out: Path, shard: int, *options: object) -> float:
    """Images a second from the first marker to the last, so without the start."""
    asked = ("--shard-size", shard, "--device", "cpu", *options)
    subprocess.run(command(bundle, images, out, *asked), check=False, stdout=subprocess.DEVNULL)
    times = sorted(path.stat().st_mtime_ns for path in (out / "done").glob("*.json"))
    return shard * (len(times) - 1) / ((times[-1] - times[0]) / 1e9)


def two_threads(bundle: Path, images: Path, first: int) -> float:
    program = [sys.executable, "-c", _TWO_THREADS, str(bundle), str(images), str(first)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    return float(done.stdout)


def alternated(rounds: int, **ways: Callable[[int], float]) -> dict[str, list[float]]:
    """Measure ways in turn, so that what else the machine does meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, measure in ways.items():
            found[name].append(round(measure(number), 3))
            print(name, found[name], flush=True)
    return found


def speed(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """Compare a worker a core with one process of two threads, in images a second."""
    images = draw(place / "images", max(int(640 * scale), 64))
    found = alternated(
        5 if scale == 1 else 1,
        threads=lambda number: two_threads(bundle, images, 8),
        processes=lambda number: rate(bundle, images, place / f"p{number}", 4, "--workers", 2),
    )
    pairs = zip(found["processes"], found["threads"], strict=True)
    return {**found, "processes over threads": statistics.median(a / b for a, b in pairs)}


def ray(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """Compare Ray with processes on this machine: time of the same images, without the start."""
    images = draw(place / "images", max(int(640 * scale), 64))
    two = ("--workers", 2)
    found = alternated(
        5 if scale == 1 else 1,
        processes=lambda number: rate(bundle, images, place / f"p{number}", 8, *two),
        ray=lambda number: rate(bundle, images, place / f"r{number}", 8, *two, "--executor", "ray"),
    )
    pairs = zip(found["processes"], found["ray"], strict=True)
    return {**found, "time of ray over processes": statistics.median(a / b for a, b in pairs)}


def listed(place: Path, number: int) -> Path:
    """Write a manifest of images that are not there."""
    path = place / f"list-{number}.parquet"
    names = [f"/archive/line-7/2026/part-{i:08}.png" for i in range(number)]
    pq.write_table(pa.table({"path": names, "size": [40_000] * number}), path)
    return path


def measured(program: list[str]) -> tuple[float, float, int]:
    """Seconds, MiB at most, and the exit code of a program."""
    began = time.perf_counter()
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - began, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)


_WITHOUT_WORK = """
import resource, sys
from pathlib import Path
from mambaad.inspection.records import Record
from mambaad.inspection.quality import Quality
from mambaad.shards.manifest import read_shard
from mambaad.shards.results import Inspection, write_shard, Done
from mambaad.shards.stores import Place
from mambaad.workflows.inspect import inspect

bundle, source, out, writes = sys.argv[1:]
peaks = []

class Executor:
    # Every image passes, and nobody looks at it.
    def run(self, plan, shards):
        place = Place(plan.out)
        for shard in shards:
            rows = read_shard(place, shard) if writes == "yes" else range(256)
            if writes == "yes":
                quality = Quality(1.0, 100.0, 0.0, 0.0, 1024, 1024)
                yield write_shard(place, shard, [
                    Inspection(Record(path=row.path, time=plan.time, model=plan.model,
                                      product="part", verdict="PASS", score=0.1, percentile=50.0,
                                      p_value=0.5, quality=quality), 0.1, (1024, 1024))
                    for row in rows], None)
            else:
                left = 256 if shard < last else rest
                yield Done(shard=shard, rows=left, verdicts={"part": {"PASS": left}})
            if shard % 100 == 0:
                peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

import pyarrow.parquet as pq
count = pq.ParquetFile(source).metadata.num_rows
last, rest = (count - 1) // 256, (count - 1) % 256 + 1
inspect(bundle, [source], out, executor=Executor(), time="2026-01-01T00:00:00+00:00")
print(peaks[0], peaks[-1])
"""


def resume(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """Resume a job of a million rows that is done."""
    number = int(1_000_000 * scale)
    source, out = listed(place, number), place / "resumed"
    program = [sys.executable, "-c", _WITHOUT_WORK, str(bundle), str(source), str(out), "yes"]
    subprocess.run(program, check=True)
    seconds, memory, code = measured(command(bundle, source, out, "--resume"))
    return {"rows": number, "seconds": seconds, "MiB": memory, "exit code": code}


def memory(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """The memory of the command while it lists images and has them inspected, by their number."""
    found: dict[str, object] = {}
    for number in (int(100_000 * scale), int(1_000_000 * scale)):
        source, out = listed(place, number), place / f"memory-{number}"
        program = [sys.executable, "-c", _WITHOUT_WORK, str(bundle), str(source), str(out), "no"]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        first, last = map(float, done.stdout.split())
        found[f"{number} rows: MiB after the first and the last shard"] = [first, last]
    return found


_EVALUATION = """
import sys
from pathlib import Path
import numpy as np
from mambaad.inspection.records import Record
from mambaad.shards.manifest import read_shard
from mambaad.shards.results import Inspection, write_shard
from mambaad.shards.stores import Place
from mambaad.workflows.inspect import inspect

bundle, data, out = sys.argv[1:]

class Executor:
    # Maps of noise, the same of the same row.
    def run(self, plan, shards):
        from mambaad.artifacts.run_folder import read_config
        from mambaad.artifacts.snapshot import opened
        with opened(plan.source) as run:
            size = read_config(run).size
        place = Place(plan.out)
        for shard in shards:
            chance = np.random.default_rng(shard)
            maps = chance.random((256, *size), np.float32)
            yield write_shard(place, shard, [
                Inspection(Record(path=row.path, score=float(m.max())), float(m.max()), (64, 64), m)
                for row, m in zip(read_shard(place, shard), maps)], size)

inspect(bundle, [data], out, executor=Executor(), maps=True)
"""


def evaluate(bundle: Path, place: Path, scale: float) -> dict[str, object]:
    """Compute the metrics of 100,000 images, of which a hundredth is defective, from their maps."""
    from mambaad.artifacts.run_folder import read_data_summary
    from mambaad.artifacts.snapshot import opened

    with opened(bundle) as run:
        product = next(iter(read_data_summary(run)["classes"]))
    number = int(100_000 * scale)
    one, mask = draw(place / "one", 1) / "000000.png", place / "mask.png"
    Image.fromarray(np.pad(np.full((9, 9), 255, np.uint8), (20, SIDE - 29))).save(mask)
    folder = place / "data" / product
    for i in range(number):
        kind = "spot" if i % 100 == 0 else "good"
        for target, source in (
            (folder / "test" / kind / f"{i:06}.png", one),
            (folder / "ground_truth" / "spot" / f"{i:06}_mask.png", mask),
        ):
            if source is one or kind == "spot":
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(source, target)
    (folder / "train" / "good").mkdir(parents=True)
    os.link(one, folder / "train" / "good" / "a.png")
    out = place / "kept"
    program = [sys.executable, "-c", _EVALUATION, str(bundle), str(folder / "test"), str(out)]
    subprocess.run(program, check=True)
    asked = ["evaluate", bundle, place / "data", "--records", out, "--json", place / "m.json"]
    seconds, most, code = measured([sys.executable, "-m", "mambaad", *map(str, asked)])
    return {"images": number, "seconds": seconds, "MiB": most, "exit code": code}


ROWS = {f.__name__: f for f in (kills, speed, ray, resume, memory, evaluate)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="of drawn parts for speed, of any for the rest")
    parser.add_argument("rows", nargs="+", choices=ROWS)
    parser.add_argument("--quick", action="store_true", help="a twentieth, not stored")
    parser.add_argument("--place", type=Path, help="folder for images and jobs")
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    for name in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.place) as folder:
            found = ROWS[name](bundle, Path(folder), 0.05 if arguments.quick else 1.0)
        found["load"] = os.getloadavg()[0]
        print(json.dumps({name: found}, indent=2), flush=True)
        if not arguments.quick:
            stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            text = json.dumps({**stored, name: found}, indent=2)
            RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
