"""Files with their own digest: any change of what they say is noticed."""

import hashlib
import json

import pytest
from pydantic import BaseModel

from mambaad.artifacts.sealed import parse_sealed, parse_unverified, sealed_json
from mambaad.documents import DocumentError


class Facts(BaseModel):
    name: str = "Gewinde ü"
    numbers: list[float] = [1.0, 1e-12]
    nested: dict[str, dict[str, int]] = {"a": {"b": 1}}


def test_what_is_written_is_read():
    fields = parse_sealed(sealed_json(Facts(), indent=2), "facts.json")
    assert Facts.model_validate(fields) == Facts()


def test_the_digest_is_that_of_the_other_entries():
    written = json.loads(sealed_json(Facts()))
    digest = written.pop("sha256")
    text = json.dumps(written, sort_keys=True, separators=(",", ":"))
    assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_every_bit_counts_unless_it_says_nothing():
    content = sealed_json(Facts())
    expected = parse_sealed(content, "facts.json")
    refused = 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            assert parse_sealed(bytes(changed), "facts.json") == expected
        except DocumentError:
            refused += 1
    assert refused > 7 * len(content)


def test_spaces_and_order_are_free():
    fields = json.loads(sealed_json(Facts()))
    other = json.dumps(dict(reversed(fields.items())), indent=7).encode()
    assert parse_sealed(other, "facts.json") == Facts().model_dump()


@pytest.mark.parametrize("content", [b"[1]", b"{}", b'{"a": 1}', b"{"])
def test_other_files_are_refused(content):
    with pytest.raises(DocumentError, match="facts"):
        parse_sealed(content, "facts.json")


def test_whether_it_has_changed_can_be_asked():
    content = sealed_json(Facts())
    assert parse_unverified(content, "x")[1]
    assert not parse_unverified(content.replace(b'"b": 1', b'"b": 2'), "x")[1]
