"""Commands killed at random moments, and what the next call of them finds.

Nothing may be left over after the next success, nothing half-written stands under its final name,
no child outlives its parent, and the end is that of a command that nothing disturbed.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.attack import oracle
from tests.attack.oracle import Outcome, contents, untimed
from tests.attack.sandbox import Ended, Running, Sandbox
from tests.attack.workshop import (
    CLASSES,
    HAS_ARROW,
    HAS_ONNX,
    HAS_OPENVINO,
    JOB_SOURCES,
    SETTINGS,
    SHARD_SIZE,
    Workshop,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SURVIVAL = 10.0
"""Seconds after which nothing of a killed command may run."""


@dataclass(frozen=True)
class Command:
    """A command that writes.

    ``argv``: with ``{shop}``, and ``{case}``, its folder. ``copied``: instances that it is given
    copies of, in its folder. ``then``: what a user adds to resume once the given file is there.
    ``result``: what must be the same after a kill, of its folder; by default the contents of all
    files. ``only_result``: other files may be there too. ``cost``: of a case, by the cheapest.
    """

    argv: tuple[str, ...]
    copied: tuple[str, ...] = ()
    then: tuple[str, str] | None = None
    result: Callable[[Path], object] = contents
    only_result: bool = False
    cost: int = 1


def _weights(case: Path) -> object:
    """The digests of everything that training makes, and its log without the times."""
    found = {k: v for k, v in contents(case).items() if k.endswith(".safetensors")}
    records = []
    for path in sorted(case.rglob("*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            records.append({k: record[k] for k in ("epoch", "loss", "step") if k in record})
    return found, records


def _predictions(case: Path) -> object:
    maps = {k: v for k, v in contents(case).items() if k.endswith((".npy", ".heatmap.png"))}
    return untimed((case / "out" / "predictions.csv").read_text()), maps


def _evaluation(case: Path) -> object:
    return json.loads((case / "figures.json").read_text()), (case / "figures.csv").read_text()


def _registry(case: Path) -> object:
    """Whether every version that is listed is the bundle that was added, and no other is there."""
    line = case / "registry" / "press"
    state = json.loads((line / "line.json").read_text())
    listed = {f"{version['number']}.mambaad": version["sha256"] for version in state["versions"]}
    return listed == {path.name: oracle.digest(path) for path in line.glob("*.mambaad")}


def _plain_names(case: Path) -> object:
    """The names of all files, without the digits of digests: a log's differ, as times do."""
    return _plain(contents(case))


def _names(case: Path) -> object:
    return sorted(contents(case))


def _benchmark(case: Path) -> object:
    return {k: v for k, v in contents(case).items() if re.search(r"weights[-\w]*\.safetensors$", k)}


def _job(case: Path) -> object:
    """The bytes of all files of a job, but for the folder that it was begun in."""
    about = json.loads((case / "out" / "job.json").read_text())
    files = {k: v for k, v in contents(case).items() if k != "out/job.json"}
    return files, {k: v for k, v in about.items() if k not in ("base", "sha256")}


def _figures(case: Path) -> object:
    return json.loads((case / "figures.json").read_text())


_DATA, _RUN, _TRAIN = "{shop}/data", "{case}/run", ("train", "{shop}/data", "--out", "{case}/run")
_SETTINGS = ("--config", "{shop}/settings.yaml")
COMMANDS: dict[str, Command] = {
    "make-data": Command(
        ("make-data", "{case}/data", "--classes", CLASSES[0], "--train", "6", "--size", "64")
    ),
    "train": Command(
        (*_TRAIN, *_SETTINGS), (), ("{case}/run/config.json", "--resume"), _weights, cost=2
    ),
    "train, a head": Command(
        (*_TRAIN, "--config", "{shop}/headed.yaml"),
        (),
        ("{case}/run/config.json", "--resume"),
        _weights,
        cost=8,
    ),
    "resume": Command(
        ("train", _DATA, "--out", "{case}/unfinished", "--resume"),
        ("unfinished",),
        result=_weights,
        cost=2,
    ),
    "calibrate": Command(
        ("calibrate", _RUN, _DATA, "--target-fpr", "0.2", "--review-fpr", "0.3"), ("run",)
    ),
    "evaluate": Command(
        (
            *("evaluate", "{shop}/run", _DATA, "--json", "{case}/figures.json"),
            *("--csv", "{case}/figures.csv", "--report", "{case}/page"),
        ),
        result=_evaluation,
        only_result=True,
        cost=2,
    ),
    "predict": Command(
        ("predict", "{shop}/run", f"{_DATA}/{CLASSES[0]}/test", "--out", "{case}/out"),
        result=_predictions,
        only_result=True,
    ),
    "predict --report": Command(
        (
            *("predict", "{shop}/run.mambaad", f"{_DATA}/{CLASSES[0]}/test/good"),
            *("--out", "{case}/out", "--report", "{case}/page", "--junit", "{case}/j.xml"),
        ),
        result=_names,
        cost=2,
    ),
    "bundle": Command(("bundle", "{shop}/run", "--out", "{case}/x.mambaad")),
    "registry add": Command(
        ("registry", "add", "press", "{shop}/run.mambaad", "--root", "{case}/registry"),
        ("registry",),
        result=_registry,
        only_result=True,
    ),
    "registry promote": Command(
        ("registry", "promote", "press", "1", "--root", "{case}/registry"),
        ("registry",),
        result=_registry,
        only_result=True,
    ),
    "extend": Command(
        ("extend", _RUN, "{shop}/new/leather", "--old", _DATA, "--epochs", "1", "--max-drop", "1"),
        ("run",),
        result=_plain_names,
        cost=4,
    ),
    "import-checkpoint": Command(
        (
            *("import-checkpoint", "{shop}/released.pth", "--out", "{case}/run"),
            *("--encoder", str(SETTINGS["encoder"])),
        ),
    ),
    "data suspects": Command(
        (
            *("data", "suspects", _DATA, "--out", "{case}/page.html", "--size", "64"),
            *("--encoder", str(SETTINGS["encoder"]), "--encoder-weights", "random"),
        ),
        result=_names,
    ),
    "build-coco-ad": Command(("data", "build-coco-ad", "{case}/coco"), ("coco",)),
    "benchmark": Command(
        ("benchmark", "{shop}/plans/short.yaml", "--out", "{case}/out"), result=_benchmark, cost=30
    ),
    "demo": Command(("demo", "--quick", "--out", "{case}/demo"), result=_benchmark, cost=40),
    "plan": Command(
        ("plan", "{shop}/run", "--images", "1000", "--json", "{case}/plan.json"),
        result=_names,
        cost=8,
    ),
}
_MAPS = ("--maps", "--digest", "--shard-size", str(SHARD_SIZE), "--time", "2026-01-01T00:00:00Z")
if HAS_ARROW:
    COMMANDS["evaluate --records"] = Command(
        (
            *("evaluate", "{shop}/run", _DATA, "--records", "{shop}/inspected"),
            *("--json", "{case}/figures.json"),
        ),
        result=_figures,
        only_result=True,
        cost=2,
    )
    for source in ("run", *(["exported"] if HAS_ONNX else [])):
        COMMANDS["inspect" if source == "run" else "inspect, an export"] = Command(
            ("inspect", f"{{shop}}/{source}", *JOB_SOURCES, "--out", "{case}/out", *_MAPS),
            then=("{case}/out/job.json", "--resume"),
            result=_job,
            cost=15,
        )
if HAS_ONNX:
    COMMANDS["predict, an export"] = Command(
        ("predict", "{shop}/exported", f"{_DATA}/{CLASSES[0]}/test", "--out", "{case}/out"),
        result=_predictions,
        only_result=True,
    )
    for target in ("onnx", "torch-export", *(["openvino"] if HAS_OPENVINO else [])):
        COMMANDS[f"export --to {target}"] = Command(
            ("export", "{shop}/run", "--out", "{case}/exported", "--to", target),
            result=_names,
            cost=8,
        )
    COMMANDS["export, int8"] = Command(
        (
            *("export", "{shop}/run", "--out", "{case}/exported", "--precision", "int8"),
            *("--data", _DATA),
        ),
        result=_names,
        cost=15,
    )


@dataclass(frozen=True)
class Kill:
    """A killed command, and what was wrong with its end or with what followed."""

    command: str
    number: int
    seed: int
    done: str
    outcome: Outcome

    @property
    def repeat(self) -> str:
        what = f"kills '{self.command}' {self.number}"
        return f"python -m tests.attack --repeat {what} --seed {self.seed}"

    def __str__(self) -> str:
        wrong = "; ".join(f"{sort}: {text}" for sort, text in self.outcome.wrong)
        return f"{self.command} {self.number} ({self.done}): {wrong}\n    {self.repeat}"


class Killer:
    """Runs commands, kills them, and runs them again."""

    def __init__(
        self,
        sandbox: Sandbox,
        shop: Workshop,
        folder: Path,
        *,
        limit: float = 120,
        keep: bool = False,
    ) -> None:
        self.sandbox, self.shop, self.folder = sandbox, shop, folder
        self.limit, self.keep = limit, keep
        self._undisturbed: dict[str, tuple[float, object, list[str]]] = {}

    def undisturbed(self, name: str) -> tuple[float, object, list[str]]:
        """How long a command takes, its result, and the files that it leaves."""
        if name not in self._undisturbed:
            case = self._prepared(name, "undisturbed")
            ended = self._start(name, case).wait(self.limit)
            if ended.code != 0:
                raise RuntimeError(f"{name}: fails undisturbed: {ended.err}")
            result, names, seconds = self._result(name, case), sorted(contents(case)), ended.seconds
            if COMMANDS[name].cost < 2:  # the first call may have waited for the disk
                case = self._prepared(name, "undisturbed")
                seconds = min(seconds, self._start(name, case).wait(self.limit).seconds)
            self._undisturbed[name] = seconds, result, names
            shutil.rmtree(case.parent)
        return self._undisturbed[name]

    def run(self, name: str, number: int, seed: int) -> Kill:
        """Kill a command once; the same arguments choose the same signal and moment."""
        seconds, result, names = self.undisturbed(name)
        random = Random(f"{seed}:{name}:{number}")
        sent, moment = random.choice(SIGNALS), random.uniform(0, 1.02)
        case = self._prepared(name, str(number))
        running = self._start(name, case)
        time.sleep(moment * seconds)
        running.send(sent, to_all=sent == signal.SIGINT)
        ended = running.wait(self.limit)
        outcome = _judge_killed(ended, sent)
        if survivors := _awaited(running):
            outcome.complain("survivors", f"{len(survivors)} processes still run")
            for pid in survivors:
                _kill(pid)
        if broken := oracle.unparsable(case):
            outcome.complain("half-written", ", ".join(broken[:3]))
        if ended.code != 0:
            again = self._start(name, case).wait(self.limit)
            state = _plain(contents(case)), self._result(name, case)
            if again.code != 0 and state != (_plain(names), result):
                reason = again.err.strip().splitlines()[-1:] or ["no line"]
                outcome.complain("stuck", f"the next call fails ({again.code}): {reason[0][:200]}")
        if not any(sort == "stuck" for sort, _ in outcome.wrong):
            if self._result(name, case) != result:
                outcome.complain("changed", "another result than that of an undisturbed call")
            more = sorted((_plain(contents(case)) - _plain(names)).elements())
            if more and not COMMANDS[name].only_result:
                outcome.complain("left over", ", ".join(more[:3]))
            if left := oracle.leftovers(case, everything=False):
                outcome.complain("left over", ", ".join(left[:3]))
            if left := oracle.leftovers(case.parent / "tmp"):
                outcome.complain("left over", f"in $TMPDIR: {', '.join(left[:3])}")
        if not self.keep:
            shutil.rmtree(case.parent, ignore_errors=True)
        when = f"{moment * seconds:.2f} of {seconds:.2f} s"
        done = f"{sent.name} after {when}, ended with {ended.code}"
        return Kill(name, number, seed, done, outcome)

    def _prepared(self, name: str, number: str) -> Path:
        folder = self.folder / f"{name.replace(' ', '-')}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        case = folder / "case"
        case.mkdir(parents=True)
        for instance in COMMANDS[name].copied:
            self.shop.copy(instance, case)
        return case

    def _start(self, name: str, case: Path) -> Running:
        command = COMMANDS[name]
        places = {"case": case, "shop": self.shop.root}
        argv = [argument.format(**places) for argument in command.argv]
        if command.then and Path(command.then[0].format(**places)).exists():
            argv.append(command.then[1])
        limits = {"RLIMIT_AS": 2**35}  # of those that start processes, each has its own
        return self.sandbox.start(argv, cwd=case, temporary=case.parent / "tmp", limits=limits)

    @staticmethod
    def _result(name: str, case: Path) -> object:
        try:
            return COMMANDS[name].result(case)
        except (OSError, ValueError, LookupError) as error:
            return repr(error)


def _plain(names: Iterable[str]) -> Counter[str]:
    """How many files have a name, without the digits of digests: a log's differ, as times do."""
    return Counter(re.sub(r"-[0-9a-f]{12}\.", ".", name) for name in names)


def _judge_killed(ended: Ended, sent: signal.Signals) -> Outcome:
    """A command that is told to end does so in one line and without a traceback."""
    outcome = Outcome(ended.code == 0)
    last = " | ".join(ended.err.strip().splitlines()[-2:])[-300:]
    expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (-15, 130, 143), signal.SIGINT: (130,)}
    if ended.timed_out:
        outcome.complain("hang", f"{sent.name} did not end it: {last}")
    elif ended.code not in (0, *expected[sent]):
        outcome.complain("unclear", f"{sent.name}: exit code {ended.code}: {last}")
    if "Traceback" in ended.err:
        outcome.complain("traceback", f"{sent.name}: {last}")
    elif sent == signal.SIGINT and ended.code == 130 and "mambaad: " not in ended.err:
        outcome.complain("unclear", f"{sent.name}: no line says what to do: {last}")
    return outcome


def _awaited(running: Running) -> list[int]:
    """What still runs of a command some seconds after its end."""
    until = time.monotonic() + _SURVIVAL
    while (found := running.survivors()) and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _kill(pid: int) -> None:
    import os
    from contextlib import suppress

    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
