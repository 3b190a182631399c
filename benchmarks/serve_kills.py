"""Kill a loaded service many times, and account for every part: results/serve_kills.json.

python benchmarks/serve_kills.py line.mambaad IMAGES --kills 100
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.serve.killing import kill_often

RESULTS = Path(__file__).parent / "results" / "serve_kills.json"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("images", type=Path, help="a folder of PNG files")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*.png"))]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        found = kill_often(arguments.bundle, data, images, arguments.kills, arguments.seed)
    found["minutes"] = round((time.monotonic() - started) / 60, 1)
    text = json.dumps(found, indent=2)
    print(text)
    RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
