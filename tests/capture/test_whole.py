"""Whether a file is whole: every shorter beginning is not, in each format that tells."""

import io

import numpy as np
import pytest
from PIL import Image

from mambaad.capture.whole import is_whole

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


def encoded(kind, **options):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate", "tile": (16, 16)}),
    ],
)
def test_a_beginning_is_not_whole(kind, options):
    content = encoded(kind, **options)
    assert is_whole(content)
    assert is_whole(content + b"\0" * 10)
    known = [end for end in range(16, len(content) - 64, 37) if is_whole(content[:end])]
    assert known == []


def test_what_does_not_tell_is_taken_as_whole():
    assert is_whole(b"no image")
    assert is_whole(b"")
    unknown = bytearray(encoded("BMP"))
    unknown[2:6] = bytes(4)
    assert is_whole(bytes(unknown))
