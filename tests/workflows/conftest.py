"""Fixtures of several tests of workflows: training interrupted or ended at a chosen step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

AtStep = Callable[[int, Callable[[], None]], AbstractContextManager[None]]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> AtStep:
    """Within ``with at_step(n, act)``, call ``act`` before the n-th step (from 1) moves weights."""

    @contextmanager
    def patched(number: int, act: Callable[[], None]) -> Iterator[None]:
        real, steps = torch.optim.AdamW.step, 0

        def step(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == number:
                act()
            return real(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            yield

    return patched
