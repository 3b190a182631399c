"""One case: a copy of a target's instance, spoiled, given to the command, and judged."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

from tests.attack import hostile, oracle
from tests.attack.oracle import Outcome
from tests.attack.sandbox import Ended, Sandbox
from tests.attack.targets import TARGETS, Target, mutations_of
from tests.attack.workshop import Workshop

_HOSTILE = 0.08
"""Share of cases in which something that is no regular file takes the place of the file."""


@dataclass(frozen=True)
class Case:
    """A case of a target, given by its number: what was done, and what became of it."""

    target: str
    number: int
    seed: int
    done: str
    outcome: Outcome

    @property
    def repeat(self) -> str:
        """The command that repeats it."""
        return (
            f"python -m tests.attack --repeat inputs {self.target} {self.number} --seed {self.seed}"
        )

    def __str__(self) -> str:
        wrong = "; ".join(f"{sort}: {text}" for sort, text in self.outcome.wrong)
        return f"{self.target} {self.number} ({self.done}): {wrong}\n    {self.repeat}"


class Fuzzer:
    """Runs cases, and removes what they leave.

    Args:
        sandbox: runs the commands.
        shop: the instances.
        folder: for the copies.
        limit: seconds that a case may take.
        keep: whether to keep the copies, and say where they are.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        shop: Workshop,
        folder: Path,
        *,
        limit: float = 60,
        keep: bool = False,
    ) -> None:
        self.sandbox, self.shop, self.folder = sandbox, shop, folder
        self.limit, self.keep = limit, keep
        self._unspoiled: dict[object, object] = {}

    @cached_property
    def held(self) -> float:
        """MiB that a command holds which does nothing."""
        return self.sandbox.run(["--version"]).memory

    def exists(self, target: Target) -> bool:
        """Whether this version of the package writes the file at all."""
        return oracle.stored(self.shop[target.instance], target.file).exists()

    def run(self, name: str, number: int, seed: int) -> Case:
        """Run a case; the same arguments repeat it."""
        target, random = TARGETS[name], Random(f"{seed}:{name}:{number}")
        folder = self.folder / f"{name.replace(':', '-')}-{number}"
        it, path, case = self._copied(target, folder)
        # Another content that is listed as such is another model: only what it does can be wrong.
        is_sealed = oracle.can_be_sealed(it, target.file) and random.random() < target.sealed
        if random.random() < _HOSTILE:
            done = hostile.replace(path, random.choice(sorted(hostile.REPLACEMENTS)))
        else:
            before = path.read_bytes()
            done, content = random.choice(mutations_of(target))(before, random)
            path.unlink()  # it is a link to the workshop's own
            path.write_bytes(content)
            if is_sealed:
                oracle.seal(it, target.file)
                done += ", listed so"
        state = _state(it)
        ended = self._ended(target, it, case)
        outcome = oracle.judge(ended, accepted=target.accepted, held=self.held)
        self._judge_files(outcome, target, it, state, case)
        is_compared = outcome.accepted and target.result and not outcome.wrong and not is_sealed
        if is_compared and self._result(target, case, ended) != self.unspoiled(target):
            outcome.complain("changed", "accepted, with another result than the unspoiled one")
        if not self.keep:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(ended.temporary.parent, ignore_errors=True)
        return Case(name, number, seed, done, outcome)

    def unspoiled(self, target: Target) -> object:
        """The result of a target's command with nothing spoiled; RuntimeError if it fails."""
        key = (target.instance, target.argv, target.call)  # that of many files of an instance
        if key not in self._unspoiled:
            folder = self.folder / f"{target.name.replace(':', '-')}-unspoiled"
            it, _, case = self._copied(target, folder)
            ended = self._ended(target, it, case)
            if ended.code not in target.accepted:
                raise RuntimeError(f"{target.name}: fails unspoiled: {ended.err}")
            self._unspoiled[key] = self._result(target, case, ended)
            shutil.rmtree(folder)
        return self._unspoiled[key]

    def _copied(self, target: Target, folder: Path) -> tuple[Path, Path, Path]:
        """A copy of the instance, the file to spoil, and a folder to write to."""
        shutil.rmtree(folder, ignore_errors=True)
        case = folder / "case"
        case.mkdir(parents=True)
        it = self.shop.copy(target.instance, folder)
        return it, oracle.stored(it, target.file) if target.file else it, case

    def _ended(self, target: Target, it: Path, case: Path) -> Ended:
        places = {"it": it, "case": case, "shop": self.shop.root}
        argv = [argument.format(**places) for argument in target.argv]
        return self.sandbox.run(argv, call=target.call, limit=self.limit)

    def _result(self, target: Target, case: Path, ended: Ended) -> object:
        assert target.result is not None
        return target.result(case, ended)

    def _judge_files(
        self, outcome: Outcome, target: Target, it: Path, before: oracle.State, case: Path
    ) -> None:
        """Complain about what is left over or changed among a case's files."""
        changed = oracle.changes(before, _state(it))
        if changed and not (outcome.accepted and target.may_write):
            outcome.complain("input changed", ", ".join(changed[:3]))
        if list(case.parent.rglob("executed")):
            outcome.complain("code", "what the file says was executed")
        # Where 1 is a code of success, what could be done was done.
        is_refused = not outcome.accepted and 1 not in target.accepted
        if is_refused and (left := oracle.leftovers(case)):
            outcome.complain("left over", f"refused, but wrote {', '.join(left[:3])}")
        if left := oracle.leftovers(case.parent, everything=False):
            outcome.complain("left over", ", ".join(left[:3]))
        if outcome.accepted and (broken := oracle.unparsable(case)):
            outcome.complain("half-written", ", ".join(broken[:3]))


def _state(it: Path) -> oracle.State:
    return oracle.state_of(it) if it.is_dir() and not it.is_symlink() else {}
