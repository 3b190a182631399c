"""Files of parts: kept by rule, found by id alone, tidied up after a kill, on a full disk."""

import hashlib
import os
import subprocess
import time
from dataclasses import replace

import pytest

from mambaad.serve.store.images import ImageChanged, ImageStore, Retention
from mambaad.serve.store.rows import new_id
from mambaad.serve.store.writer import StoreError, StoreFull
from tests.serve.rows import new_rows


@pytest.fixture
def images(tmp_path):
    return ImageStore(tmp_path, 0)


def part_of(digit="a"):
    return replace(new_rows()[0], sha256=digit * 64)


def files(images):
    return sorted(
        str(path.relative_to(images.folder)) for path in images.folder.rglob("*") if path.is_file()
    )


def test_a_kept_image_is_as_it_came(images):
    part = replace(new_rows()[0], sha256=hashlib.sha256(b"image").hexdigest())
    images.spool(part, b"image")
    assert images.spooled(part) == b"image"
    images.keep(part, b"map", b"thumbnail")
    images.release(part)
    assert images.read_image(part.sha256, "PNG") == b"image"
    assert images.map(part.id).read_bytes() == b"map"
    assert images.thumbnail(part.id).read_bytes() == b"thumbnail"
    assert len(files(images)) == 3
    with pytest.raises(StoreError, match="its image is gone"):
        images.spooled(part)
    images.image(part.sha256, "PNG").write_bytes(b"another")
    with pytest.raises(ImageChanged, match=f"images/.*{part.sha256}.png is not the image"):
        images.read_image(part.sha256, "PNG")
    assert images.read_image("e" * 64, "PNG") is None
    images.spool(part, b"another")
    with pytest.raises(StoreError, match="was changed in the spool"):
        images.spooled(part)


def test_an_image_stays_while_another_part_has_it(images):
    first, second = part_of(), part_of()
    for part in (first, second):
        images.spool(part, b"image")
        images.keep(part, b"map", b"thumbnail")
    images.discard(first, lambda _: False)  # the second is not in the store yet
    assert images.image("a" * 64, "PNG").is_file()
    assert not images.map(first.id).exists()
    assert images.map(second.id).is_file()
    images.discard(second, {"a" * 64}.__contains__)  # an older one has it
    assert [f[:6] for f in files(images)] == ["images"]
    images.spool(first, b"image")
    images.discard(first, lambda _: False)
    assert files(images) == []


def test_to_read_creates_nothing(tmp_path):
    assert ImageStore(tmp_path / "none", make=False).read_image("a" * 64, "PNG") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sha256", "format"), [("../" * 10, "PNG"), ("a" * 64, "../x"), ("A" * 64, "PNG"), ("", "")]
)
def test_only_digests_name_files(images, sha256, format):
    with pytest.raises(StoreError, match="names no file"):
        images.image(sha256, format)
    with pytest.raises(StoreError, match="names no file"):
        images.map("../../etc/passwd")


def test_what_a_kill_leaves_is_tidied_up(images):
    waiting, kept, lost, twin = part_of("a"), part_of("b"), part_of("c"), part_of("b")
    for part in (waiting, kept, lost, twin):
        images.spool(part, part.sha256.encode())
    for part in (kept, lost, twin):  # killed between these files and the record, or after it
        images.keep(part, b"map", b"thumbnail")
    (images.folder / "maps" / lost.id[-2:] / "x.npz.tmp").write_bytes(b"half")
    found = images.recover(
        {waiting.id}.__contains__, {kept.id}.__contains__, {"b" * 64}.__contains__
    )
    assert found == (1, 2)
    assert files(images) == sorted(
        [
            f"spool/{waiting.id}.{'a' * 64}.png",
            f"images/bb/{'b' * 64}.png",
            f"maps/{kept.id[-2:]}/{kept.id}.npz",
            f"thumbnails/{kept.id[-2:]}/{kept.id}.jpg",
        ]
    )


def test_the_rules_of_keeping():
    ids = [new_id() for _ in range(4000)]
    assert all(Retention("all").keeps(i, "PASS", False) for i in ids[:9])
    assert not any(Retention("not-pass", 1.0).keeps(i, "PASS", False) for i in ids[:9])
    for verdict, in_review in (("FAIL", False), (None, False), ("PASS", True)):
        assert Retention("not-pass").keeps(ids[0], verdict, in_review)
    rule = Retention("share", 0.25)
    share = sum(rule.keeps(i, "PASS", False) for i in ids) / len(ids)
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / len(ids)) ** 0.5
    assert [rule.keeps(i, "PASS", False) for i in ids] == [
        rule.keeps(i, "PASS", False) for i in ids
    ]


def test_the_oldest_go_first(images):
    moment = time.time()
    for age, digit in enumerate("abcd"):
        part = part_of(digit)
        images.spool(part, b"x" * 1000)
        images.keep(part, None, b"thumbnail")
        images.release(part)
        os.utime(images.image(part.sha256, "PNG"), (moment - age * 86_400,) * 2)
    assert images.sweep(Retention()) == 0
    assert images.sweep(Retention(days=2.5)) == 1
    assert images.sweep(Retention(gigabytes=2e-6)) == 1
    assert [f[7:9] for f in files(images) if f.startswith("images")] == ["aa", "bb"]
    assert sum(f.startswith("thumbnails") for f in files(images)) == 4


def test_parts_are_refused_before_the_disk_is_full(tmp_path):
    with pytest.raises(StoreFull, match="MiB of disk are free"):
        ImageStore(tmp_path, 1e18).check_space()
    ImageStore(tmp_path, 0).check_space()


def test_a_full_disk_refuses_and_recovers(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        images = ImageStore(tmp_path, 0)
        part = part_of()
        with pytest.raises(StoreFull, match="no space left"):
            images.spool(part, bytes(100_000))
        assert files(images) == []  # nothing half-written
        images.spool(part, bytes(30_000))
        with pytest.raises(StoreFull):
            images.keep(part, bytes(100_000), None)
        images.keep(part, bytes(10_000), None)
        images.release(part)
        assert images.map(part.id).stat().st_size == 10_000
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=False)
