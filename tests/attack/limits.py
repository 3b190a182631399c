"""Commands with little memory, few descriptors, a full disk, or closed files.

Each case returns what was wrong, in words; none if all was right.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.attack import oracle
from tests.attack.kills import COMMANDS
from tests.attack.oracle import contents
from tests.attack.sandbox import Sandbox
from tests.attack.workshop import CLASSES, Workshop, room

Complaints = list[tuple[str, str]]
Limit = Callable[[Sandbox, Workshop, Path, Random], Complaints]

LIMITED = (
    *("make-data", "train", "resume", "calibrate", "evaluate", "predict", "predict --report"),
    *("bundle", "registry add", "import-checkpoint", "data suspects", "build-coco-ad"),
)
_SLOW = tuple(
    name
    for name in COMMANDS
    if name.startswith(("plan", "inspect", "export", "predict, an export", "evaluate --records"))
)
"""Commands that are limited by hand alone."""
_PERMISSION = re.compile("permission|not readable", re.IGNORECASE)


def _limited(
    sandbox: Sandbox, shop: Workshop, folder: Path, name: str, limits: dict[str, int]
) -> Complaints:
    """Run a command within limits, then without: it is refused in one line, and then it works."""
    command = COMMANDS[name]
    for instance in command.copied:
        shop.copy(instance, folder)
    before = oracle.state_of(folder)
    places = {"case": folder, "shop": shop.root}
    argv = [argument.format(**places) for argument in command.argv]
    ended = sandbox.run(argv, limits=limits, limit=90)
    outcome = oracle.judge(ended)
    said = f"{name}, {', '.join(f'{k} {v}' for k, v in limits.items())}"
    wrong = [(sort, f"{said}: {text}") for sort, text in outcome.wrong]
    if ended.timed_out or outcome.accepted:
        return wrong
    if broken := oracle.unparsable(folder):
        wrong.append(("half-written", f"{said}: {', '.join(broken[:3])}"))
    if left := oracle.leftovers(folder, everything=False):
        wrong.append(("left over", f"{said}: {', '.join(left[:3])}"))
    lost = [n for n in oracle.changes(before, oracle.state_of(folder)) if n not in contents(folder)]
    if lost := [n for n in lost if not (folder / n).is_dir()]:
        wrong.append(("lost", f"{said}: {', '.join(lost[:3])}"))
    if command.then and Path(command.then[0].format(**places)).exists():
        argv.append(command.then[1])
    again = sandbox.run(argv, limit=90)
    if again.code != 0:
        wrong.append(("stuck", f"{said}: without limits: {again.err[-200:]}"))
    return wrong


def _with(limit: str, values: tuple[int, ...], names: tuple[str, ...] = LIMITED) -> Limit:
    def check(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
        name, value = random.choice(names), random.choice(values)
        return _limited(sandbox, shop, folder, name, {limit: value})

    return check


_MEMORY = "RLIMIT_AS", tuple(n * 2**20 for n in (16, 32, 64, 100, 200, 400))
_DESCRIPTORS = "RLIMIT_NOFILE", (4, 6, 8, 10, 12, 16, 24)
_SIZES = "RLIMIT_FSIZE", (1000, 3000, 2**16, 2**20)
little_memory, few_descriptors = _with(*_MEMORY), _with(*_DESCRIPTORS)
small_files = _with(*_SIZES)


def full_disk(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A disk that is full, which takes the right to mount one."""
    names = [n for n in LIMITED if not COMMANDS[n].copied]
    return _on_full_disk(names, sandbox, shop, folder, random)


def full_disk_slow(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    return _on_full_disk(_SLOW, sandbox, shop, folder, random)


def _on_full_disk(
    names: Sequence[str], sandbox: Sandbox, shop: Workshop, folder: Path, random: Random
) -> Complaints:
    name = random.choice(names)
    size = random.choice((0, 4, 64, 300, 900, 1500))
    command = COMMANDS[name]
    with _small_disk(folder / "disk", 4096) as disk:
        if disk is None:
            return []
        (disk / "case").mkdir()
        rest = disk / "filled"
        rest.write_bytes(bytes((4096 - size) * 1024 - 16384))
        argv = [a.format(case=disk / "case", shop=shop.root) for a in command.argv]
        ended = sandbox.run(argv, limit=90, temporary=folder / "tmp")
        said = f"{name}, {size} KiB free"
        wrong = [(sort, f"{said}: {text}") for sort, text in oracle.judge(ended).wrong]
        if ended.code != 0 and (broken := oracle.unparsable(disk / "case")):
            wrong.append(("half-written", f"{said}: {', '.join(broken[:3])}"))
        if left := oracle.leftovers(disk / "case", everything=False):
            wrong.append(("left over", f"{said}: {', '.join(left[:3])}"))
    return wrong


def full_temporary_folder(
    sandbox: Sandbox, shop: Workshop, folder: Path, random: Random
) -> Complaints:
    """A bundle is not to blame for a temporary folder that is full."""
    images = shop["data"] / CLASSES[0] / "test" / "good"
    with _small_disk(folder / "disk", 256) as disk:
        if disk is None:
            return []
        argv = ["predict", shop["run.mambaad"], images, "--out", folder / "out"]
        ended = sandbox.run(argv, temporary=disk / "tmp")
    wrong = oracle.judge(ended).wrong
    if ended.code != 0 and "damaged" in ended.err:
        wrong.append(("misleading", ended.err[-200:]))
    return wrong


@contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of some KiB in memory; None where it cannot be mounted."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def modes_of_files(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """Everything that is written has the permissions that the umask leaves."""
    return _modes(LIMITED, sandbox, shop, folder, random)


def modes_slow(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    return _modes(_SLOW, sandbox, shop, folder, random)


def _modes(
    names: Sequence[str], sandbox: Sandbox, shop: Workshop, folder: Path, random: Random
) -> Complaints:
    umask = random.choice((0o022, 0o002, 0o077, 0o027))
    name = random.choice([n for n in names if n != "resume"])
    command, wrong = COMMANDS[name], []
    for instance in command.copied:
        shop.copy(instance, folder)
    before = oracle.state_of(folder)
    argv = [argument.format(case=folder, shop=shop.root) for argument in command.argv]
    ended = sandbox.run(argv, umask=umask)
    wrong += oracle.judge(ended).wrong
    for changed in oracle.changes(before, oracle.state_of(folder)):
        path = folder / changed
        if not path.exists() or (changed in before and path.is_dir()):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = (0o777 if path.is_dir() else 0o666) & ~umask
        if mode != expected:
            wrong.append(("mode", f"{name}, umask {umask:03o}: {changed} has {mode:03o}"))
    return wrong[:4]


def closed_file(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A file may not be read: that is what is said, and nothing else."""
    name = random.choice(("run", "run.mambaad", "data"))
    it = folder / name
    if (shop[name]).is_dir():
        shutil.copytree(shop[name], it)
        files = sorted(path for path in it.rglob("*") if path.is_file())
        if name == "data":
            files = [path for path in files if "good" in path.parts]
    else:
        shutil.copy(shop[name], it)
        files = [it]
    closed = random.choice(files)
    closed.chmod(0)
    images = it if name == "data" else shop["data"] / CLASSES[0] / "test"
    run = shop["run"] if name == "data" else it
    ended = sandbox.run(["predict", run, images, "--out", folder / "out"], unprivileged=True)
    wrong = oracle.judge(ended, accepted=(0, 1)).wrong
    needed = not re.match(r"log\b|version\b|\.", closed.name)
    if needed and (ended.code == 0 or not _PERMISSION.search(ended.err)):
        wrong.append(("misleading", f"{closed.name} unreadable: {ended.code} {ended.err[-200:]}"))
    return wrong


def closed_folder(sandbox: Sandbox, shop: Workshop, folder: Path, random: Random) -> Complaints:
    """A folder that may not be read is no empty one: no command passes it over in silence."""
    data = folder / "data"
    shutil.copytree(shop["data"], data)
    nested = [data / CLASSES[1] / split / "good" / "batch 2" for split in ("train", "test")]
    for batch in nested:
        batch.mkdir()
        shutil.copy(next(batch.parent.glob("*.png")), batch / "more.png")
    closed = random.choice((*nested, *nested, nested[0].parent, nested[1].parent.parent))
    closed.chmod(0)
    commands = {
        "predict": ["predict", shop["run"], data, "--out", folder / "out"],
        "data check": ["data", "check", data],
        "train": ["train", data, "--out", folder / "run", "--config", shop["settings.yaml"]],
    }
    name = random.choice(sorted(commands))
    ended = sandbox.run(commands[name], unprivileged=True)
    wrong = oracle.judge(ended, accepted=(0, 1)).wrong
    is_read = name == "train" and "test" in str(closed.relative_to(data))
    if not is_read and (ended.code == 0 or closed.name not in ended.out + ended.err):
        where = closed.relative_to(data)
        said = (ended.out + ended.err)[-160:]
        wrong.append(("passed over", f"{name}: {where} is closed: {ended.code} {said}"))
    closed.chmod(0o755)
    return wrong


LIMITS: dict[str, Limit] = {
    "little_memory": little_memory,
    "few_descriptors": few_descriptors,
    "small_files": small_files,
    "full_disk": full_disk,
    "full_temporary_folder": full_temporary_folder,
    "modes_of_files": modes_of_files,
    "closed_file": closed_file,
    "closed_folder": closed_folder,
}
SLOW_LIMITS: dict[str, Limit] = {
    "little_memory, slow": _with(*_MEMORY, _SLOW),
    "few_descriptors, slow": _with(*_DESCRIPTORS, _SLOW),
    "small_files, slow": _with(*_SIZES, _SLOW),
    "full_disk, slow": full_disk_slow,
    "modes_of_files, slow": modes_slow,
}
"""The same for commands that take long."""


def run_limit(
    name: str, number: int, seed: int, sandbox: Sandbox, shop: Workshop, folder: Path
) -> Complaints:
    """Run one case of a limit; the same arguments repeat it."""
    with room(folder / f"{name}-{number}") as place:
        return {**LIMITS, **SLOW_LIMITS}[name](
            sandbox, shop, place, Random(f"{seed}:{name}:{number}")
        )
