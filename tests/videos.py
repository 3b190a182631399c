"""Real videos for tests: written by PyAV, and sent over HTTP on loopback as a camera would."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

RATE = 25


def write_video(
    path: Path, frames: Iterable[np.ndarray], *, codec: str = "ffv1", rate: int = RATE
) -> Path:
    """Write frames, h x w x 3 of uint8; ``ffv1`` loses nothing."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "bgr0" if codec == "ffv1" else "yuv420p"
        if codec != "ffv1":
            stream.options = {"g": "5"}
            stream.bit_rate = 4_000_000
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def grey(levels: Iterable[int], height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames of one grey level each."""
    return [np.full((height, width, 3), level, np.uint8) for level in levels]


class _Camera(ThreadingHTTPServer):
    daemon_threads = True
    contents: Sequence[bytes]
    connections = 0
    seconds: float


class _Handler(BaseHTTPRequestHandler):
    server: _Camera

    def do_GET(self) -> None:
        number, self.server.connections = self.server.connections, self.server.connections + 1
        if number >= len(self.server.contents) or not self.server.contents[number]:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        content, size = self.server.contents[number], 188 * 7
        pieces = range(0, len(content), size)
        try:
            for start in pieces:
                self.wfile.write(content[start : start + size])
                time.sleep(self.server.seconds / len(pieces))
        except OSError:  # who watches has gone
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def camera(contents: Sequence[bytes], *, seconds: float = 1.0) -> Iterator[tuple[str, _Camera]]:
    """A camera on loopback: each connection gets one content, in about so many seconds, and ends.

    A connection whose content is empty, or for which there is none, is answered with an error.
    """
    server = _Camera(("127.0.0.1", 0), _Handler)
    server.contents, server.seconds = contents, seconds
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live.ts", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def belt(defective: Sequence[bool], *, seed: int = 0, stays: int = 6, gap: int = 5) -> list:
    """A belt on which discs come by, as those of ``conftest.make_parts``, some with a spot.

    Each part stays in the picture, 80 x 72, for so many frames; before it, after it and after the
    last one the belt is empty.
    """
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:80, :72]
    disc = np.hypot(rows - 40, columns - 36) < 25

    def noisy(shape: np.ndarray) -> np.ndarray:
        return 60 + 120 * shape[..., None] + random.normal(0, 6, (80, 72, 3))

    frames = [noisy(0 * disc) for _ in range(gap)]
    for is_defective in defective:
        row, column = random.integers(20, 50, 2)
        for _ in range(stays):
            pixels = noisy(disc)
            if is_defective:
                pixels[np.hypot(rows - row, columns - column) < 8] = (230, 20, 20)
            frames.append(pixels)
        frames += [noisy(0 * disc) for _ in range(gap)]
    return [pixels.clip(0, 255).astype(np.uint8) for pixels in frames]
