from pathlib import Path

from mambaad.data.file_names import IMAGE_SUFFIXES, is_image


def test_is_image() -> None:
    assert all(is_image(Path(f"a{suffix}")) for suffix in IMAGE_SUFFIXES)
    assert is_image(Path("A.PNG"))
    assert not any(is_image(Path(name)) for name in ("._a.png", "a.txt", "Thumbs.db", "png"))
