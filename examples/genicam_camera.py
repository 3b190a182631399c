"""Inspect the frames of a GenICam camera (GigE Vision, USB3 Vision) through harvesters.

    pip install mambaad harvesters
    python genicam_camera.py line.mambaad /opt/vendor/producer.cti

The producer (.cti) comes with the camera's own software. The camera is triggered by hardware, and
each frame is one part: nothing is dropped, as the camera's buffers wait for the inspection. It is
written after harvesters' documentation, version 1.4, and has not been tried on a camera.
"""

import sys
from collections.abc import Iterator

import numpy as np

from mambaad import Inspector


def frames(producer: str, *, serial_number: str | None = None) -> Iterator[np.ndarray]:
    """The frames of a camera: grey, h x w, or RGB, h x w x 3."""
    from harvesters.core import Harvester, TimeoutException

    with Harvester() as harvester:
        harvester.add_file(producer)
        harvester.update()
        search = {"serial_number": serial_number} if serial_number else None
        with harvester.create(search) as camera:
            nodes = camera.remote_device.node_map
            nodes.TriggerSelector.value = "FrameStart"
            nodes.TriggerMode.value = "On"
            nodes.TriggerSource.value = "Line1"
            camera.start()
            while True:
                try:
                    buffer = camera.fetch(timeout=1.0)
                except TimeoutException:  # no part came by
                    continue
                with buffer:  # what it holds is the camera's again at the end
                    yield as_array(buffer.payload.components[0])


def as_array(component) -> np.ndarray:
    """Pixels of a component: Mono8, or RGB8 and BGR8. Set the camera to one of these."""
    height, width, kind = component.height, component.width, component.data_format
    if kind == "Mono8":
        return component.data.reshape(height, width)
    if kind in ("RGB8", "BGR8"):
        pixels = component.data.reshape(height, width, 3)
        return pixels if kind == "RGB8" else pixels[..., ::-1]
    raise ValueError(f"the camera gives {kind}; set its PixelFormat to Mono8 or RGB8")


if __name__ == "__main__":
    bundle, producer = sys.argv[1:3]
    for part in Inspector(bundle).stream(frames(producer)):
        record = part.record
        print(record.taken, record.verdict.value if record.verdict else record.error, record.score)
