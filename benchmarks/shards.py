"""`mambaad inspect` under kills, its speed, its memory of a million rows: results/shards.json.

    python benchmarks/shards.py small.mambaad kills              # 20 of workers, 5 of the command
    python benchmarks/shards.py small.mambaad resume memory      # a million rows
    python benchmarks/shards.py small.mambaad evaluate           # 100,000 maps
    python benchmarks/shards.py line.mambaad speed --images DIR  # processes over two threads
    python benchmarks/shards.py line.mambaad ray --images DIR    # Ray over processes

A bundle that is not there is made first: a small model of drawn parts. Each result replaces that
of the same name, and is written as it becomes known. --quick takes a twentieth of everything, and
writes nothing. Without --images, drawn parts are inspected.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from machine import machine
from parts_drawn import PRODUCTS, SIDE, draw, draw_part, make_bundle
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "shards.json"
TIME = "2026-01-01T00:00:00+00:00"
Found = dict[str, Any]


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


def kills(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """Kill workers, then the command, at random moments; compare with a job that nothing killed."""
    number, chance = int(20_000 * scale), random.Random(0)
    images = draw(place / "images", number)
    size = 256 if scale == 1 else 64
    options = ("--shard-size", size, "--device", "cpu")
    page = ("--report", place / "page")
    began = time.perf_counter()
    # Exit code 1 would say that an image has no record: none of these.
    subprocess.run(command(bundle, images, place / "undisturbed", *options, *page), check=True)
    expected, shards = contents(place / "undisturbed"), done_in(place / "undisturbed")
    on_page = [path for path in (place / "page").rglob("*") if path.is_file()]
    found: Found = {
        "images": number,
        "shards": shards,
        "undisturbed, with its page, s": time.perf_counter() - began,
        "page": {
            "html_kib": (place / "page" / "index.html").stat().st_size / 1024,
            "files": len(on_page),
            "mib": sum(path.stat().st_size for path in on_page) / 2**20,
        },
    }
    yield found

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
    found["kills of workers"] = {
        "exit_code": job.wait(),
        "killed": killed,
        **compared(contents(out), expected),
    }
    yield found

    out, killed = place / "drivers", 0
    for moment in moments(5):
        job = subprocess.Popen(command(bundle, images, out, *options, "--resume"))
        while done_in(out) < moment and job.poll() is None:
            time.sleep(0.02)
        killed += job.poll() is None
        job.kill()
        job.wait()
    last = subprocess.run(command(bundle, images, out, *options, "--resume"), check=False)
    found["kills of the command"] = {
        "exit_code": last.returncode,
        "killed": killed,
        **compared(contents(out), expected),
    }
    yield found


def compared(found: dict[str, bytes], expected: dict[str, bytes]) -> Found:
    """Whether all files are the same, and what the records say by themselves."""
    lines = [content.splitlines() for name, content in found.items() if name.endswith(".jsonl")]
    records = [json.loads(line) for part in lines for line in part]
    return {
        "same bytes": found == expected,
        "rows": len(records),
        "paths": len({record["path"] for record in records}),
        "errors": sum(record["error"] is not None for record in records),
    }


_TWO_THREADS = """
import sys, time, torch
from pathlib import Path
torch.set_num_threads(2)
from mambaad.inspection.inspector import Inspector
inspector = Inspector(sys.argv[1], device="cpu")
paths, first = sys.stdin.read().splitlines(), int(sys.argv[2])
items = map(inspector.item, paths)
for done, _ in enumerate(inspector.inspect_items(items, batch_size=inspector.engine.batch_size), 1):
    if done == first:
        began = time.perf_counter()
print((len(paths) - first) / (time.perf_counter() - began))
"""
_SHARD = 4  # images, of those whose rate is measured


def some(given: Path | None, place: Path, scale: float) -> Path:
    """A manifest of the images whose rate is measured: some that are given, or drawn ones."""
    number = max(int(160 * scale), 64)
    folder = given or draw(place / "images", number)
    files = (path.resolve() for path in folder.rglob("*") if path.is_file())
    paths = sorted(path for path in files if path.suffix in (".png", ".jpg"))
    chosen = paths[:: max(len(paths) // number, 1)][:number]
    manifest = place / "images.parquet"
    pq.write_table(pa.table({"path": [str(path) for path in chosen]}), manifest)
    return manifest


def rate(bundle: Path, images: Path, out: Path, *options: object) -> float:
    """Images a second from the first quarter of the markers to the last but two.

    So neither the start counts, nor the end at which one worker has nothing left to do.
    """
    asked = ("--shard-size", _SHARD, "--device", "cpu", "--workers", 2, *options)
    subprocess.run(command(bundle, images, out, *asked), check=True, stdout=subprocess.DEVNULL)
    times = sorted(path.stat().st_mtime_ns for path in (out / "done").glob("*.json"))
    first, last = len(times) // 4, len(times) - 2
    return _SHARD * (last - first) / ((times[last] - times[first]) / 1e9)


def two_threads(bundle: Path, images: Path) -> float:
    """Images a second of one process with two threads, without its first quarter."""
    paths = pq.read_table(images)["path"].to_pylist()
    program = [sys.executable, "-c", _TWO_THREADS, str(bundle), str(len(paths) // 4)]
    done = subprocess.run(
        program, input="\n".join(paths), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def alternated(rounds: int, **ways: Callable[[int], float]) -> Iterator[dict[str, list[float]]]:
    """Measure ways in turn, so that what else the machine does meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, measure in ways.items():
            found[name].append(round(measure(number), 3))
            print(name, found[name], file=sys.stderr, flush=True)
        yield found


def speed(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """Compare a worker a core with one process of two threads, in images a second."""
    images = some(given, place, scale)
    for found in alternated(
        5 if scale == 1 else 1,
        threads=lambda number: two_threads(bundle, images),
        processes=lambda number: rate(bundle, images, place / f"p{number}"),
    ):
        pairs = zip(found["processes"], found["threads"], strict=True)
        yield {
            "images_a_second": found,
            "processes over two threads": statistics.median(a / b for a, b in pairs),
        }


def ray(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """Compare Ray with processes on this machine: time of the same images, without the start."""
    images, ours = some(given, place, scale), ("--executor", "ray")
    for found in alternated(
        5 if scale == 1 else 1,
        processes=lambda number: rate(bundle, images, place / f"p{number}"),
        ray=lambda number: rate(bundle, images, place / f"r{number}", *ours),
    ):
        pairs = zip(found["processes"], found["ray"], strict=True)
        yield {
            "images_a_second": found,
            "time of ray over processes": statistics.median(a / b for a, b in pairs),
        }


def listed(place: Path, number: int) -> Path:
    """Write a manifest of images that are not there."""
    path = place / f"list-{number}.parquet"
    names = [f"/archive/line-7/2026/part-{i:08}.png" for i in range(number)]
    pq.write_table(pa.table({"path": names, "size": [40_000] * number}), path)
    return path


def measured(program: list[str]) -> Found:
    """Seconds by the clock and of the processor, MiB at most, and the exit code of a program."""
    began, most = time.perf_counter(), 0
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    status_file = Path(f"/proc/{process.pid}/status")
    while True:  # what the kernel says in the end counts this process's memory, before it began
        peak = re.search(r"VmHWM:\s+(\d+) kB", status_file.read_text())
        most = int(peak[1]) if peak else most
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(0.02)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "most_mib": most / 1024,
        "exit_code": os.waitstatus_to_exitcode(status),
    }


def without_network(way: str, *arguments: Path) -> list[str]:
    script = Path(__file__).with_name("shards_without_network.py")
    return [sys.executable, str(script), way, *map(str, arguments)]


def resume(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """Resume a job of a million rows that is done."""
    number = int(1_000_000 * scale)
    source, out = listed(place, number), place / "resumed"
    made = measured(without_network("passing", bundle, source, out))
    found: Found = {"rows": number, "records made by": made}
    yield found
    found["resumed"] = measured(command(bundle, source, out, "--resume"))
    yield found


def memory(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """The memory of the command while it lists images and has them inspected, by their number."""
    found: Found = {}
    for number in (int(100_000 * scale), int(1_000_000 * scale)):
        source, out = listed(place, number), place / f"memory-{number}"
        program = without_network("counted", bundle, source, out)
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        found[f"{number} rows: MiB after each tenth"] = json.loads(done.stdout)
        yield found


def evaluate(bundle: Path, place: Path, scale: float, given: Path | None) -> Iterator[Found]:
    """Compute the metrics of 100,000 images, of which a hundredth is defective, from their maps."""
    from mambaad.artifacts.run_folder import read_data_summary
    from mambaad.artifacts.snapshot import opened

    with opened(bundle) as run:
        product = next(iter(read_data_summary(run)["classes"]))
    number = int(100_000 * scale)
    one, mask = place / "one.png", place / "mask.png"
    draw_part(one, PRODUCTS[0], 0, False)
    Image.fromarray(np.pad(np.full((9, 9), 255, np.uint8), (20, SIDE - 29))).save(mask)
    folder = place / "data" / product

    def link(source: Path, *parts: str) -> None:
        folder.joinpath(*parts).parent.mkdir(parents=True, exist_ok=True)
        os.link(source, folder.joinpath(*parts))

    link(one, "train", "good", "a.png")
    for i in range(number):
        kind = "spot" if i % 100 == 0 else "good"
        if i % 10_000 == 9_999:  # of one file there are at most 65,000 links
            content = one.read_bytes()
            one.unlink()
            one.write_bytes(content)
        link(one, "test", kind, f"{i:06}.png")
        if kind == "spot":
            link(mask, "ground_truth", "spot", f"{i:06}_mask.png")
    out = place / "kept"
    made = measured(without_network("noise", bundle, folder / "test", out))
    found: Found = {"images": number, "records made by": made}
    yield found
    asked = ["evaluate", bundle, place / "data", "--records", out, "--json", place / "m.json"]
    found["evaluated"] = measured([sys.executable, "-m", "mambaad", *map(str, asked)])
    yield found


PARTS = {f.__name__: f for f in (kills, speed, ray, resume, memory, evaluate)}


def stored(name: str, found: Found) -> None:
    """Write what is known of a part, beside the others."""
    former = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    text = json.dumps({**former, name: found}, indent=2, default=float)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="made of drawn parts if it is not there")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--images", type=Path, help="PNG or JPEG, for speed and ray")
    parser.add_argument("--quick", action="store_true", help="a twentieth, not stored")
    parser.add_argument("--keep", type=Path, help="new folder for images and jobs, which stay")
    arguments = parser.parse_args()
    bundle = arguments.bundle.resolve()
    if not bundle.exists():
        make_bundle(bundle)
    for name in arguments.parts:
        with tempfile.TemporaryDirectory() as temporary:
            place = (arguments.keep or Path(temporary)).resolve() / name
            place.mkdir(parents=True)
            about = {"machine": machine(), "load": os.getloadavg()[0]}
            scale = 0.05 if arguments.quick else 1.0
            for found in PARTS[name](bundle, place, scale, arguments.images):
                if not arguments.quick:
                    stored(name, {**about, **found, "load_after": os.getloadavg()[0]})
            print(json.dumps({name: found}, indent=2, default=float), flush=True)


if __name__ == "__main__":
    main()
