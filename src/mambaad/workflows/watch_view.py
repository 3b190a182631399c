"""What ``mambaad watch`` shows in a terminal while it works: a line of figures, and a preview."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Group
from rich.live import Live
from rich.text import Text

from mambaad.capture.capturing import Capturing
from mambaad.files import printable
from mambaad.inspection.watching import InspectedCycle
from mambaad.progress import console, is_shown

_MOST_COLUMNS, _MOST_ROWS = 96, 24
_SHOWN_EVERY = 0.25  # seconds
_RATE_OVER = 20  # parts


def blocks(pixels: UInt8[np.ndarray, "h w 3"], columns: int, rows: int) -> Text:
    """Draw a picture with half blocks: each character is two of its pixels, one above the other.

    Args:
        pixels: 8-bit RGB, of any size; its proportions are kept.
        columns, rows: the most characters.
    """
    height, width = pixels.shape[:2]
    scale = min(columns / width, 2 * rows / height, 1.0)
    size = max(round(scale * width), 1), max(round(scale * height / 2), 1) * 2
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    text = Text(no_wrap=True)
    for above, below in zip(small[::2], small[1::2], strict=True):
        for upper, lower in zip(above.tolist(), below.tolist(), strict=True):
            text.append("▀", style=f"rgb({_rgb(upper)}) on rgb({_rgb(lower)})")
        text.append("\n")
    return text


def _rgb(pixel: list[int]) -> str:
    return ",".join(map(str, pixel))


class WatchView:
    """Shows how a watch fares; nothing where there is no terminal. Use as a context manager.

    Args:
        capturing: of the watch.
        preview: show the latest part too, its heatmap laid over the frame that decided.
    """

    def __init__(self, capturing: Capturing, *, preview: bool) -> None:
        self._console = console()
        self._is_shown = is_shown() and self._console.is_terminal
        self._capturing, self._preview = capturing, preview
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._times: deque[float] = deque(maxlen=_RATE_OVER)
        self._last = 0.0

    def __enter__(self) -> WatchView:
        if self._is_shown:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_shown:
            self._live.stop()

    def update(self, done: InspectedCycle, counts: dict[str, int]) -> None:
        """Show the latest part, and how many had each verdict; at most four times a second."""
        now = time.monotonic()
        self._times.append(now)
        if not self._is_shown or now - self._last < _SHOWN_EVERY:
            return
        self._last = now
        line = Text(self.line(done, counts))
        if self._preview and done.prediction is not None:
            columns = min(self._console.width, _MOST_COLUMNS)
            rows = min(self._console.height - 3, _MOST_ROWS)
            shown = Group(blocks(done.prediction.draw(), columns, max(rows, 1)), line)
            self._live.update(shown, refresh=True)
        else:
            self._live.update(line, refresh=True)

    def line(self, done: InspectedCycle, counts: dict[str, int]) -> str:
        """The figures: parts a second, verdicts, what waits, what was dropped or lost."""
        c, record = self._capturing, done.record
        verdict = record.verdict.value if record.verdict else "no verdict"
        words = [f"part {record.cycle} {printable(record.serial or '')}".rstrip(), verdict]
        if len(self._times) > 1:
            pace = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)
            words.append(f"{pace:.1f} parts/s")
        words += [f"{name} {count}" for name, count in sorted(counts.items())]
        words.append(f"waiting {c.waiting}")
        words += [f"dropped {c.dropped}"] if c.dropped else []
        words += [f"reconnected {c.source.reconnections}"] if c.source.reconnections else []
        return ", ".join(words)
