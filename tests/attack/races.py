"""Two processes at once: on one folder, or one that replaces what the other reads.

Each race returns what was wrong, in words; none if all was right.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.attack import oracle
from tests.attack.oracle import digest, stored
from tests.attack.sandbox import Ended, Running, Sandbox
from tests.attack.workshop import CLASSES, HAS_ARROW, HAS_ONNX, JOB_SOURCES, Workshop, room

LOADS = 5
"""How often a model is loaded while it is replaced."""

Complaints = list[tuple[str, str]]
Race = Callable[[Sandbox, Workshop, Path, Random], Complaints]


def _ends(*running: Running) -> tuple[list[Ended], Complaints]:
    ends = [one.wait(120) for one in running]
    return ends, [complaint for ended in ends for complaint in oracle.judge(ended).wrong]


def _weights(run: Path) -> str:
    return digest(stored(run, "weights.safetensors"))


def _check_folder(wrong: Complaints, folder: Path) -> None:
    if broken := oracle.unparsable(folder):
        wrong.append(("half-written", ", ".join(broken[:3])))
    if left := oracle.leftovers(folder, everything=False):
        wrong.append(("left over", ", ".join(left[:3])))


def two_predictions(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Two models predict into one folder: all that is there is of one that said it succeeded."""
    out, images = folder / "out", shop["data"] / CLASSES[0] / "test"
    models = random.sample(("run", "other.mambaad"), 2)
    ends, wrong = _ends(
        *(sandbox.start(["predict", shop[m], images, "--out", out]) for m in models)
    )
    _check_folder(wrong, out)
    if not any(ended.code == 0 for ended in ends):
        return [*wrong, ("both refused", ends[0].err[-200:])]
    lines = (out / "predictions.jsonl").read_text().splitlines()
    if wrong and wrong[0][0] == "half-written":
        return wrong
    found = {json.loads(line)["model"] for line in lines}
    weights = {"run": _weights(shop["run"])}
    weights["other.mambaad"] = _weights(shop["other"])
    ended_well = {weights[m] for m, ended in zip(models, ends, strict=True) if ended.code == 0}
    expected = sum(path.suffix == ".png" for path in images.rglob("*"))
    if len(found) != 1 or not found <= ended_well:
        wrong.append(("mixed", f"records of {len(found)} models, some of a call that failed"))
    table = len((out / "predictions.csv").read_text().splitlines()) - 1
    if not len(lines) == table == expected:
        wrong.append(("mixed", f"{expected} images, {len(lines)} records, a table of {table} rows"))
    return wrong


def two_trainings(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Two trainings into one run: one is refused, the run is wholly the other's."""
    out, settings = folder / "run", shop["settings.yaml"]
    training = ["train", shop["data"], "--out", out, "--config", settings, "--seed"]
    seeds = random.sample((1, 2), 2)
    ends, wrong = _ends(*(sandbox.start([*training, str(seed)]) for seed in seeds))
    _check_folder(wrong, out)
    done = [seed for seed, ended in zip(seeds, ends, strict=True) if ended.code == 0]
    if len(done) != 1:
        return [*wrong, ("mixed", f"{len(done)} of two trainings into one run succeeded")]
    alone = shop["run" if done == [1] else "other"]
    if json.loads((out / "config.json").read_text())["seed"] != done[0]:
        wrong.append(("mixed", "the settings are those of the training that was refused"))
    if _weights(out) != _weights(alone):
        wrong.append(("mixed", "the weights are not those of an undisturbed training"))
    return wrong


def resumed_beside_it(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A run is resumed while it is being trained: that is refused, and harms nothing."""
    out = folder / "run"
    first = sandbox.start(
        [*("train", shop["data"], "--out", out, "--config", shop["settings.yaml"], "--seed", "1")]
    )
    while not (out / "config.json").exists() and not first.ended.wait(0.005):
        pass
    first.ended.wait(random.uniform(0, 0.5))
    second = sandbox.start(["train", shop["data"], "--out", out, "--resume"])
    # It may come when the first has ended: then there is nothing to do.
    ends, wrong = _ends(first, second)
    _check_folder(wrong, out)
    if ends[0].code != 0:
        wrong.append(("mixed", f"the first training fails: {ends[0].err[-200:]}"))
    if ends[1].code == 0 and "already" not in ends[1].err + ends[1].out and "epoch" in ends[1].err:
        wrong.append(("mixed", "both train one run"))
    if _weights(out) != _weights(shop["run"]):
        wrong.append(("mixed", "the weights are not those of an undisturbed training"))
    return wrong


def two_calibrations(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Two calibrations of one run: the thresholds are those of one that succeeded."""
    rates, alone = random.sample(("0.15", "0.2", "0.25"), 2), []
    for rate in rates:
        run = shop.copy("run", folder / rate)
        sandbox.run(_calibration(run, shop, rate))
        alone.append(digest(stored(run, "calibration.safetensors")))
    run = shop.copy("run", folder / "both")
    ends, wrong = _ends(*(sandbox.start(_calibration(run, shop, rate)) for rate in rates))
    _check_folder(wrong, run)
    done = {d for d, ended in zip(alone, ends, strict=True) if ended.code == 0}
    if digest(stored(run, "calibration.safetensors")) not in done:
        wrong.append(("mixed", "the calibration is of neither call that succeeded"))
    after = sandbox.run(["predict", run, shop["data"] / CLASSES[0], "--out", folder / "out"])
    wrong += oracle.judge(after).wrong
    if after.code != 0 or "no verdicts" in after.err:
        wrong.append(("mixed", f"the run is no use afterwards: {after.err[-200:]}"))
    return wrong


def _calibration(run: Path, shop: Workshop, rate: str) -> list[str | Path]:
    return ["calibrate", run, shop["data"], "--target-fpr", rate, "--review-fpr", "0.3"]


def added_at_once(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Bundles are added and put into use by several processes: each change counts once."""
    root, bundles = folder / "registry", [shop["run.mambaad"], shop["other.mambaad"]]
    ours = ("--root", str(root))
    first = sandbox.run(["registry", "add", "press", bundles[0], *ours])
    adding = [["registry", "add", "press", random.choice(bundles), *ours] for _ in range(3)]
    promoting = [["registry", "promote", "press", "1", *ours] for _ in range(2)]
    commands = [*adding, *promoting]
    random.shuffle(commands)
    ends, wrong = _ends(*map(sandbox.start, commands))
    _check_folder(wrong, root)
    state = json.loads((root / "press" / "line.json").read_text())
    numbers = [version["number"] for version in state["versions"]]
    if first.code or any(ended.code for ended in ends):
        wrong.append(("refused", "; ".join(ended.err[-150:] for ended in ends if ended.code)))
    if numbers != [1, 2, 3, 4] or state["used"] != [1]:
        wrong.append(("mixed", f"versions {numbers} of 4 bundles, in use {state['used']}"))
    for version in state["versions"]:
        if digest(root / "press" / f"{version['number']}.mambaad") != version["sha256"]:
            wrong.append(("mixed", f"version {version['number']} is another bundle"))
    return wrong


def _exchange(first: Path, second: Path) -> None:
    """Exchange two folders in one step (Linux)."""
    encoded = os.fsencode(first), os.fsencode(second)
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, encoded[0], -100, encoded[1], 2):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _file_by_file(live: Path, spare: Path) -> None:
    """Put the files of another run in place, one after the other, as a copy would."""
    for path in sorted(spare.iterdir()):
        link = live / ".incoming"
        os.link(path, link)
        link.replace(live / path.name)
        link.unlink(missing_ok=True)  # it stays if both are links to one file


def _replaced(
    live: Path,
    step: Callable[[int], None],
    sandbox: Sandbox,
    shop: Workshop,
    *,
    whole: bool,
    sources: tuple[Path, Path] | None = None,
) -> Complaints:
    """Load a model again and again while ``step`` replaces it by another one and back.

    ``whole``: whether it is replaced in one step, so that one of the two is always there.
    ``sources``: the two; by default the runs.
    """
    folder = live.parent
    path = next((shop["data"] / CLASSES[0] / "test").glob("*/*.png"))
    sources = sources or (shop["run"], shop["other"])
    found = []
    for number, source in enumerate((*sources, live)):
        answers = folder / f"{number}.jsonl"
        times = LOADS if source == live else 1
        reader = sandbox.start(
            [source, path, str(times), answers], call="tests.attack.calls:inspect_repeatedly"
        )
        count = 0
        while source == live and not reader.ended.wait(0.004):
            step(count)
            count += 1
        _, wrong = _ends(reader)
        found.append([json.loads(line) for line in answers.read_text().splitlines()])
    ours, theirs, seen = (found[0][0], found[1][0], found[2])
    assert ours != theirs
    refused = [answer["refused"] for answer in seen if "refused" in answer]
    mixed = [a for a in seen if a not in (ours, theirs) and "refused" not in a]
    if mixed:
        wrong.append(("mixed", f"{len(mixed)} of {len(seen)} answers are of no model: {mixed[0]}"))
    if whole and refused:
        wrong.append(("refused", f"{len(refused)} of {len(seen)} loads: {refused[0][:200]}"))
    return wrong


def run_relinked(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A link to a run is replaced by one to another run while the model is loaded."""
    live, spare = folder / "live", folder / "spare"
    live.symlink_to(shop["run"])

    def step(number: int) -> None:
        spare.symlink_to(shop["other" if number % 2 == 0 else "run"])
        spare.replace(live)

    return _replaced(live, step, sandbox, shop, whole=True)


def run_exchanged(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A run's folder is exchanged with another's while the model is loaded."""
    live, spare = shop.copy("run", folder), shop.copy("other", folder)
    return _replaced(live, lambda number: _exchange(live, spare), sandbox, shop, whole=True)


def run_overwritten(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """The files of another run are put in place one by one: loading may be refused, not mixed."""
    live = shop.copy("run", folder)
    sources = (shop["other"], shop["run"])

    def step(number: int) -> None:
        _file_by_file(live, sources[number % 2])

    return _replaced(live, step, sandbox, shop, whole=False)


def bundle_replaced(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A bundle is replaced by another one while the model is loaded."""
    live, spare = shop.copy("run.mambaad", folder), folder / "spare"
    sources = (shop["other.mambaad"], shop["run.mambaad"])

    def step(number: int) -> None:
        os.link(sources[number % 2], spare)
        spare.replace(live)

    return _replaced(live, step, sandbox, shop, whole=True)


def two_inspections(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Two models inspect into one job: one is refused, the job is wholly the other's."""
    out, models = folder / "out", random.sample(("run", "other.mambaad"), 2)
    sources = [source.format(shop=shop.root) for source in JOB_SOURCES]
    ends, wrong = _ends(
        *(sandbox.start(["inspect", shop[m], *sources, "--out", out, "--resume"]) for m in models)
    )
    _check_folder(wrong, out)
    done = [model for model, ended in zip(models, ends, strict=True) if ended.code == 0]
    if len(done) != 1:
        return [*wrong, ("mixed", f"{len(done)} of two jobs in one folder succeeded")]
    lines = [line for path in out.glob("jsonl/*") for line in path.read_text().splitlines()]
    if {json.loads(line)["model"] for line in lines} != {_weights(shop[done[0].split(".")[0]])}:
        wrong.append(("mixed", "the records are not those of the job that succeeded"))
    return wrong


def job_resumed_beside_it(
    sandbox: Sandbox, shop: Workshop, folder: Path, random: Random
) -> Complaints:
    """A job is resumed while it is inspected: that is refused, and harms nothing."""
    out = folder / "out"
    sources = [source.format(shop=shop.root) for source in JOB_SOURCES]
    inspect = ["inspect", shop["run"], *sources, "--out", out, "--resume", "--shard-size", "2"]
    first = sandbox.start(inspect)
    while not (out / "job.json").exists() and not first.ended.wait(0.005):
        pass
    first.ended.wait(random.uniform(0, 5))
    ends, wrong = _ends(first, sandbox.start(inspect))  # which may come when the first has ended
    _check_folder(wrong, out)
    if ends[0].code != 0:
        wrong.append(("mixed", f"the first job fails: {ends[0].err[-200:]}"))
    if ends[1].code != 0 and "being written by another" not in ends[1].err:
        wrong.append(("mixed", f"the second one ends otherwise: {ends[1].err[-200:]}"))
    again = sandbox.run(inspect)
    if again.code != 0 or again.out != ends[0].out:
        wrong.append(("mixed", f"it is another job then: {again.err[-200:]}"))
    return wrong


def two_exports(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Two models are exported into one folder: it is wholly of the one that succeeded."""
    out, models = folder / "out", random.sample(("run", "other"), 2)
    ends, wrong = _ends(*(sandbox.start(["export", shop[m], "--out", out]) for m in models))
    _check_folder(wrong, out)
    done = [model for model, ended in zip(models, ends, strict=True) if ended.code == 0]
    if len(done) != 1:
        return [*wrong, ("mixed", f"{len(done)} of two exports into one folder succeeded")]
    if json.loads((out / "export.json").read_text())["weights"] != _weights(shop[done[0]]):
        wrong.append(("mixed", "the export is of the model that was refused"))
    after = sandbox.run(["predict", out, shop["data"] / CLASSES[0] / "test", "--out", folder / "p"])
    return [*wrong, *oracle.judge(after).wrong]


def export_exchanged(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """An export's folder is exchanged with another's while the model is loaded."""
    live, spare = shop.copy("exported", folder), shop.copy("exported_other", folder)
    sources = shop["exported"], shop["exported_other"]
    return _replaced(
        live, lambda number: _exchange(live, spare), sandbox, shop, whole=True, sources=sources
    )


def export_overwritten(
    sandbox: Sandbox, shop: Workshop, folder: Path, random: Random
) -> Complaints:
    """The files of another export are put in place one by one: refused, perhaps, but not mixed."""
    live, sources = shop.copy("exported", folder), (shop["exported_other"], shop["exported"])

    def step(number: int) -> None:
        _file_by_file(live, sources[number % 2])

    return _replaced(live, step, sandbox, shop, whole=False, sources=sources)


SLOW_RACES: dict[str, Race] = {
    race.__name__: race
    for race in (
        *((two_inspections, job_resumed_beside_it) if HAS_ARROW else ()),
        *((two_exports, export_exchanged, export_overwritten) if HAS_ONNX else ()),
    )
}
"""Those of commands that take long."""

RACES: dict[str, Race] = {
    race.__name__: race
    for race in (
        *(two_predictions, two_trainings, resumed_beside_it, two_calibrations, added_at_once),
        *(run_relinked, run_exchanged, run_overwritten, bundle_replaced),
    )
}


def run_race(
    name: str, number: int, seed: int, sandbox: Sandbox, shop: Workshop, folder: Path
) -> Complaints:
    """Run one race; the same arguments make the same choices, not the same moments."""
    with room(folder / f"{name}-{number}") as place:
        return {**RACES, **SLOW_RACES}[name](
            sandbox, shop, place, Random(f"{seed}:{name}:{number}")
        )
