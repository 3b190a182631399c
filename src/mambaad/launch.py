"""The place of this process among those that a launcher has started, such as torchrun."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mambaad.errors import ConfigError

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """One of several processes that train together.

    ``rank``: of ``processes``, from 0. ``local_rank``: of the ``local_processes`` on this machine.
    """

    rank: int
    processes: int
    local_rank: int
    local_processes: int

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads, writes and speaks for all."""
        return self.rank == 0

    def devices(self, asked: int | None) -> int:
        """The number of devices, one for each process (ConfigError: another was asked for)."""
        if asked not in (None, self.processes):
            raise ConfigError(
                f"--devices {asked}: the launcher has started {self.processes} processes, which "
                "train together; omit it"
            )
        return self.processes

    def command(self, arguments: Sequence[str]) -> str:
        """The command that starts these processes again, to be copied; or what to start where."""
        module = shlex.join(["-m", *arguments])
        if self.processes == self.local_processes:
            return f"torchrun --standalone --nproc-per-node {self.processes} {module}"
        return f"torchrun as before, on every machine, {module}"


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Read what torchrun and other launchers tell a process; None if it is the only one.

    The variables are those of ``torch.distributed``: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT,
    and LOCAL_RANK and LOCAL_WORLD_SIZE, without which there is one process a machine.

    Raises:
        ConfigError: they are no numbers that can be together.
    """
    if not all(environment.get(name) for name in _NEEDED):
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    texts = [environment.get(name) or "01"[i % 2] for i, name in enumerate(names)]
    try:
        found = Launch(*map(int, texts))
        fits = 0 <= found.rank < found.processes and found.local_processes <= found.processes
        if not (fits and 0 <= found.local_rank < found.local_processes):
            raise ValueError
    except ValueError:
        values = ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))
        raise ConfigError(
            f"the environment says {values}, which no launcher sets; start by torchrun, or unset "
            "them"
        ) from None
    if found.processes % found.local_processes:
        raise ConfigError(
            f"the environment says {found.processes} processes, {found.local_processes} of them on "
            "this machine; start equally many on every machine (--nproc-per-node)"
        )
    return found if found.processes > 1 else None
