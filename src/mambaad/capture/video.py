"""Videos and cameras through PyAV (FFmpeg): files, addresses (RTSP, HTTP, ...) and USB cameras.

A camera that is lost is reached again, with pauses that grow; a file is read to its end.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from mambaad.capture.frame import Frame
from mambaad.capture.pauses import pauses
from mambaad.errors import ConfigError, DataError
from mambaad.files import printable
from mambaad.progress import say, warn

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_DEVICE = re.compile(r"/dev/video\d+")
_OPEN_SECONDS, _READ_SECONDS = 10.0, 5.0
_CUT_OFF = 0.1  # of a file's duration, missing at its end, from which on that is said
_TCP = {"rtsp_transport": "tcp"}  # over UDP, frames would be damaged without notice


def is_address(source: str) -> bool:
    """Whether a source is an address such as ``rtsp://camera/1``, and not a path."""
    return bool(ADDRESS.match(source))


def without_password(address: str) -> str:
    """An address as it may be shown and kept: without user, password and query."""
    if not is_address(address):
        return printable(address)
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return printable(f"{parts.scheme}://{host}{parts.path}")


class Video:
    """Gives the frames of a video file or a camera.

    Args:
        address: the path of a file, an address, or the device of a camera (``/dev/video0``).
        format: FFmpeg's name of the format, where it is not known from the address: ``"v4l2"``,
            ``"dshow"`` or ``"avfoundation"`` for USB cameras.
        options: FFmpeg's options, such as ``{"video_size": "1280x720"}``.
        reconnect: seconds for which a lost camera is looked for; None: for ever; 0: not at all.
        max_pixels: larger frames are refused.

    Raises:
        ConfigError: PyAV is not installed.
        DataError: it cannot be opened, or has no video.
    """

    def __init__(
        self,
        address: str | Path,
        *,
        format: str | None = None,
        options: Mapping[str, str] | None = None,
        reconnect: float | None = None,
        max_pixels: int | None = None,
    ) -> None:
        try:
            import av
        except ImportError:
            raise ConfigError(
                "videos and cameras need PyAV; run pip install 'mambaad[video]'"
            ) from None
        self._av: Any = av
        self._address = str(address)
        self.name = without_password(self._address)
        is_device = bool(_DEVICE.fullmatch(self._address))
        self._format = format or ("v4l2" if is_device else None)
        self._options = (
            {**_TCP, **(options or {})} if self._scheme == "rtsp" else {**(options or {})}
        )
        self._reconnect, self._max_pixels = reconnect, max_pixels
        self.reconnections = 0
        self._opened: InputContainer | None = self._open()
        # An address may be that of a file, whose length is known; a camera's is not.
        is_file = self._opened.duration is not None and not is_device
        self.is_live = is_device or (not is_file and (is_address(self._address) or bool(format)))
        self.is_endless = self.is_live

    @property
    def _scheme(self) -> str:
        return self._address.partition("://")[0].lower() if is_address(self._address) else ""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Give the frames; one that is damaged has an error in place of pixels.

        Raises:
            DataError: a file that cannot be read to its end, or a camera that stays lost.
        """
        container, index, began = self._opened, 0, time.time()
        self._opened = None
        if container is None:
            container = self._open()
        while container is not None:
            problem, stated, clock = "it ended", container.duration, _Clock(began)
            try:
                for decoded, error in self._decoded(container, stop):
                    seconds, taken = clock.of(decoded, self.is_live)
                    pixels, error = (None, error) if error else self._pixels(decoded)
                    shown = f"{self.name}, frame {index}: {error}" if error else None
                    session = self.reconnections
                    yield Frame(pixels, self.name, index, seconds, taken, session, error=shown)
                    index += 1
            except self._av.FFmpegError as error:
                problem = str(error.strerror or error)
                if not self.is_live:
                    raise DataError(
                        f"{self.name} cannot be read beyond frame {index} ({problem}); copy it "
                        "again, or repair it"
                    ) from error
            finally:
                container.close()
            if stop.is_set():
                return
            if not self.is_live:
                self._check_length(stated, clock.last, index)
                return
            container = self._reached_again(problem, stop)

    def close(self) -> None:
        """Let go of what was opened and not read."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self) -> InputContainer:
        try:
            container: InputContainer = self._av.open(
                self._address,
                format=self._format,
                options=self._options,
                timeout=(_OPEN_SECONDS, _READ_SECONDS),
            )
        except (self._av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            what = "a video file, an address or a camera"
            raise DataError(f"{self.name} cannot be opened ({reason}); give {what}") from error
        if not container.streams.video:
            container.close()
            raise DataError(f"{self.name} has no video; give one that has")
        return container

    def _decoded(
        self, container: InputContainer, stop: threading.Event
    ) -> Iterator[tuple[VideoFrame | None, str | None]]:
        """The frames as FFmpeg has them; or None and an error, for what cannot be decoded."""
        stream = container.streams.video[0]
        if not self.is_live:  # else several threads would hold frames back
            stream.thread_type = "AUTO"
        is_damaged = False  # until a key frame, all frames build on the one that is damaged
        for packet in container.demux(stream):
            if stop.is_set():
                return
            try:
                frames = packet.decode()
            except self._av.error.InvalidDataError as error:
                is_damaged = True
                yield None, f"it cannot be decoded ({error.strerror})"
                continue
            for frame in frames:
                is_damaged = frame.is_corrupt or (is_damaged and not frame.key_frame)
                yield frame, "it is damaged, or one that it builds on" if is_damaged else None

    def _pixels(
        self, frame: VideoFrame | None
    ) -> tuple[UInt8[np.ndarray, "h w 3"] | None, str | None]:
        assert frame is not None  # else there is an error
        if self._max_pixels is not None and frame.width * frame.height > self._max_pixels:
            return None, f"it has more than {self._max_pixels} pixels; raise --max-pixels"
        pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
        return np.ascontiguousarray(pixels), None

    def _check_length(self, duration: int | None, last: float, count: int) -> None:
        """Say that a file ends before the end that it states."""
        stated = (duration or 0) / self._av.time_base
        if stated - last > max(1.0, _CUT_OFF * stated):
            warn(
                f"{self.name} ends at {last:.1f} s, after {count} frames, and states {stated:.1f} "
                "s; it may be cut off"
            )

    def _reached_again(self, problem: str, stop: threading.Event) -> InputContainer | None:
        """Open a lost camera again, however often that fails; None if stopped meanwhile."""
        lost_at, waits = time.monotonic(), pauses()
        if self._reconnect != 0:
            say(f"{self.name} was lost ({problem}); it is tried again")
        while not stop.is_set():
            lost = time.monotonic() - lost_at
            if self._reconnect is not None and lost >= self._reconnect:
                tried = f" and not reached again within {self._reconnect:g} s"
                raise DataError(
                    f"{self.name} was lost ({problem}){tried if self._reconnect else ''}; check "
                    "the camera and the cable"
                )
            left = float("inf") if self._reconnect is None else self._reconnect - lost
            stop.wait(min(next(waits), left))
            try:
                container = self._open()
            except DataError as error:
                problem = str(getattr(error.__cause__, "strerror", None) or error)
                continue
            self.reconnections += 1
            say(f"{self.name} was reached again after {time.monotonic() - lost_at:.1f} s")
            return container
        return None


class _Clock:
    """Says when frames were taken, by the times that they carry.

    A frame may have waited, in FFmpeg or in the network, before it is read. The shortest wait so
    far counts as none.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._offset: float | None = None  # from the frames' times to the computer's
        self._first: float | None = None
        self.last = 0.0

    def of(self, frame: VideoFrame | None, is_live: bool) -> tuple[float, float]:
        """Seconds since the source began, and since 1970."""
        now = time.time()
        shown = frame.time if frame is not None else None
        if not is_live:
            if shown is not None:
                self._first = shown if self._first is None else self._first
                self.last = shown - self._first
            return self.last, now
        taken = now
        if shown is not None:
            offset = now - shown
            self._offset = offset if self._offset is None else min(self._offset, offset)
            taken = shown + self._offset
        return max(taken - self._began, 0.0), taken
