"""The long attack, by hand: ``python -m tests.attack --help``. See README.md."""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from traceback import format_exception
from typing import Any, NamedTuple

from tests.attack.inputs import Fuzzer
from tests.attack.kills import COMMANDS, Killer
from tests.attack.limits import LIMITS, SLOW_LIMITS, run_limit
from tests.attack.oracle import stored
from tests.attack.races import RACES, SLOW_RACES, run_race
from tests.attack.sandbox import PROJECT, Sandbox
from tests.attack.targets import TARGETS
from tests.attack.workshop import Workshop, make

KINDS = ("inputs", "kills", "races", "limits")


class Task(NamedTuple):
    """One case, by which it can be repeated."""

    kind: str
    name: str
    number: int


class Done(NamedTuple):
    """A case that was tried."""

    task: Task
    what: str
    accepted: bool | None
    wrong: list[tuple[str, str]]
    seconds: float


class Attacker:
    """Runs cases of all kinds, one after the other, in a sandbox of its own."""

    def __init__(self, work: Path, seed: int, *, keep: bool) -> None:
        self.folder, self.seed = work, seed
        self.sandbox = Sandbox(work / "sandbox")
        self.shop = make(work.parent / "workshop", self.sandbox)
        given: Any = {"keep": keep}
        self.fuzzer = Fuzzer(self.sandbox, self.shop, work / "cases", **given)
        self.killer = Killer(self.sandbox, self.shop, work / "kills", limit=400, **given)

    def run(self, task: Task) -> Done:
        since, what, accepted = time.monotonic(), "", None
        if task.kind == "inputs":
            case = self.fuzzer.run(task.name, task.number, self.seed)
            what, accepted, wrong = case.done, case.outcome.accepted, case.outcome.wrong
        elif task.kind == "kills":
            kill = self.killer.run(task.name, task.number, self.seed)
            what, wrong = kill.done, kill.outcome.wrong
        else:
            run = run_race if task.kind == "races" else run_limit
            place = self.folder / task.kind
            wrong = run(*task[1:], self.seed, self.sandbox, self.shop, place)
        return Done(task, what, accepted, wrong, time.monotonic() - since)


def spread(counts: dict[str, int], shop: Workshop, only: re.Pattern[str]) -> list[Task]:
    """Spread the wanted numbers of cases over what there is: fewer where a case takes long."""
    tasks: list[Task] = []
    for kind, total in counts.items():
        if not total:
            continue
        weights = {k: v for k, v in _weights(kind, shop).items() if only.search(k)}
        whole = sum(weights.values())
        numbered = [
            ((number + 0.5) / (total * weight / whole), Task(kind, name, number))
            for name, weight in weights.items()
            for number in range(max(1, round(total * weight / whole)))
        ]
        tasks += [task for _, task in sorted(numbered)]
    return tasks


def _weights(kind: str, shop: Workshop) -> dict[str, float]:
    if kind == "inputs":
        there = {k: t for k, t in TARGETS.items() if stored(shop[t.instance], t.file).exists()}
        return {name: target.cost**-0.5 for name, target in there.items()}
    if kind == "kills":
        return {name: command.cost**-0.5 for name, command in COMMANDS.items()}
    names = (*RACES, *SLOW_RACES) if kind == "races" else (*LIMITS, *SLOW_LIMITS)
    return dict.fromkeys(names, 1.0)


def attack(tasks: list[Task], work: Path, seed: int, jobs: int, *, keep: bool) -> Iterator[Done]:
    """Run all tasks that were not run before into the same folder; yields those that were, too."""
    kept = work / f"seed-{seed}.jsonl"
    before: dict[Task, Done] = {}
    if kept.exists():
        for line in kept.read_text().splitlines():
            task, *rest = json.loads(line)
            before[Task(*task)] = Done(Task(*task), *rest)
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        if task in before:
            yield before[task]
        else:
            waiting.put(task)
    ended: queue.SimpleQueue[Done | None] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(waiting, ended, work / f"job-{n}", seed, keep))
        for n in range(jobs)
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    running = len(threads)
    with kept.open("a") as file:
        while running:
            done = ended.get()
            if done is None:
                running -= 1
                continue
            print(json.dumps(done), file=file, flush=True)
            yield done


def _work(
    waiting: queue.SimpleQueue[Task],
    ended: queue.SimpleQueue[Done | None],
    folder: Path,
    seed: int,
    keep: bool,
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    attacker = Attacker(folder, seed, keep=keep)
    try:
        while True:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                ended.put(attacker.run(task))
            except Exception as error:  # the harness's own; the others are still of use
                where = "".join(format_exception(error))[-500:]
                ended.put(Done(task, "", None, [("harness", where)], 0.0))
    finally:
        changed = attacker.shop.changed()
        if changed:
            task = Task("inputs", "all", 0)
            ended.put(Done(task, "", None, [("instances changed", ", ".join(changed))], 0.0))
        attacker.sandbox.close()
        ended.put(None)


def summary(found: list[Done]) -> dict[str, Any]:
    """Count cases by kind and name, and what was wrong by its sort."""
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        of_kind = [done for done in found if done.task.kind == kind]
        if not of_kind:
            continue
        kinds[kind] = {**_counts(of_kind), "by name": {}}
        for name in dict.fromkeys(done.task.name for done in of_kind):
            kinds[kind]["by name"][name] = _counts([d for d in of_kind if d.task.name == name])
    return kinds


def _counts(found: list[Done]) -> dict[str, Any]:
    wrong = Counter(sort for done in found for sort in {sort for sort, _ in done.wrong})
    counts: dict[str, Any] = {"cases": len(found)}
    if any(done.accepted is not None for done in found):
        counts["accepted"] = sum(done.accepted is True for done in found)
        counts["refused"] = sum(done.accepted is False for done in found)
    counts["wrong"] = sum(bool(done.wrong) for done in found)
    counts["wrong by sort"] = dict(sorted(wrong.items()))
    return counts


def told(done: Done, seed: int) -> str:
    """A wrong case, and how to repeat it."""
    wrong = "\n    ".join(f"{sort}: {text}" for sort, text in done.wrong)
    task = done.task
    again = f"--repeat {task.kind} '{task.name}' {task.number} --seed {seed}"
    return f"{task.kind} {task.name} {task.number}: {done.what}\n    {wrong}\n    repeat: {again}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    for kind in KINDS:
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N", help=f"how many {kind}")
    parser.add_argument("--only", default="", help="only cases whose names match this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="sandboxes at once [2]")
    parser.add_argument("--out", type=Path, help="JSON file for the counts")
    parser.add_argument(
        "--work", type=Path, help="folder of a call, to resume it [a temporary one]"
    )
    parser.add_argument(
        "--repeat", nargs=3, metavar=("KIND", "NAME", "NUMBER"), help="run one case, and keep it"
    )
    given = parser.parse_args()
    since = time.monotonic()
    work = given.work or Path(tempfile.mkdtemp(prefix="attack-"))
    work.mkdir(parents=True, exist_ok=True)
    if given.repeat:
        kind, name, number = given.repeat
        attacker = Attacker(work / "repeated", given.seed, keep=True)
        done = attacker.run(Task(kind, name, int(number)))
        attacker.sandbox.close()
        print(f"{told(done, given.seed)}\n    {'accepted' if done.accepted else ''} in {work}")
        sys.exit(bool(done.wrong))
    sandbox = Sandbox(work / "maker")
    shop = make(work / "workshop", sandbox)
    sandbox.close()
    counts = {kind: getattr(given, kind) for kind in KINDS}
    tasks = spread(counts, shop, re.compile(given.only))
    found = []
    for done in attack(tasks, work, given.seed, given.jobs, keep=False):
        found.append(done)
        if done.wrong:
            print(told(done, given.seed), flush=True)
        if len(found) % 100 == 0:
            print(f"{len(found)} of {len(tasks)}, {time.monotonic() - since:.0f} s", flush=True)
    result = {"seed": given.seed, "jobs": given.jobs, **summary(found)}
    result["seconds of all cases"] = round(sum(done.seconds for done in found))
    print(json.dumps({k: _short(v) for k, v in result.items()}, indent=2))
    if given.out:
        sys.path.insert(0, str(PROJECT))
        from benchmarks.machine import machine

        given.out.write_text(json.dumps({**result, "machine": machine()}, indent=2) + "\n")
    if not given.work:
        shutil.rmtree(work, ignore_errors=True)
    os._exit(any(done.wrong for done in found))


def _short(value: Any) -> Any:
    return {k: v for k, v in value.items() if k != "by name"} if isinstance(value, dict) else value


if __name__ == "__main__":
    main()
