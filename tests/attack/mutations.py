"""Changes of a file's content: of any bytes, and of JSON, YAML and tables by their structure.

Every function takes the content and a random generator, and returns what was done, in words, and
the new content; the same generator gives the same change.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import yaml

Change = tuple[str, bytes]
Mutation = Callable[[bytes, Random], Change]


def flip_bits(content: bytes, random: Random) -> Change:
    changed = bytearray(content)
    count = random.choice((1, 1, 1, 2, 8)) if changed else 0
    places = [random.randrange(8 * len(changed)) for _ in range(count)]
    for place in places:
        changed[place // 8] ^= 1 << place % 8
    return f"bits {places} flipped", bytes(changed)


def truncate(content: bytes, random: Random) -> Change:
    end = random.choice((0, 1, len(content) - 1, random.randrange(len(content) + 1)))
    return f"cut at {end} of {len(content)}", content[: max(end, 0)]


def insert(content: bytes, random: Random) -> Change:
    place, count = random.randrange(len(content) + 1), random.choice((1, 4, 700))
    added = random.choice((random.randbytes(count), b"\0" * count, b"\xff" * count, b"\n" * count))
    return f"{count} bytes inserted at {place}", content[:place] + added + content[place:]


def remove_block(content: bytes, random: Random) -> Change:
    start = random.randrange(len(content) + 1)
    end = start + random.choice((1, 7, 512))
    return f"bytes {start} to {end} removed", content[:start] + content[end:]


def repeat_block(content: bytes, random: Random) -> Change:
    start = random.randrange(len(content) + 1)
    end, place = start + random.choice((1, 16, 600)), random.randrange(len(content) + 1)
    done = f"bytes {start} to {end} repeated at {place}"
    return done, content[:place] + content[start:end] + content[place:]


def zero_block(content: bytes, random: Random) -> Change:
    start = random.randrange(len(content) + 1)
    count = min(random.choice((1, 64, 4096)), len(content) - start)
    done = f"{count} bytes at {start} zeroed"
    return done, content[:start] + b"\0" * count + content[start + count :]


def splice(content: bytes, random: Random) -> Change:
    """Join the beginning of the content with another part of it, as a lost block of a disk does."""
    first, second = sorted(random.randrange(len(content) + 1) for _ in range(2))
    return f"{first} bytes, then from {second}, twice", content[:second] + content[first:]


BYTES: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, flip_bits, truncate, insert),
    *(remove_block, repeat_block, zero_block, splice),
)

DIGITS = "9" * 5000
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, -5, 99, 2**31, 2**63, 2**64, 10**9, -(10**9), int("9" * 400)),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "1", "nan", "true", "../..", "/dev/zero", "/etc/passwd", "x" * 5000),
    *("\0", "\x1b[31m", "\u202e", "\ud800", "=1+1", "a\nb", "中", "{}", "a/b", "CON"),
    *([], {}, [None], [[]], [1, 2, 3], [256, 256, 3], ["a", "a"], {"a": 1}, {"": None}, [{}]),
    *([0] * 3000, {"a": {"b": {"c": [1]}}}, [float("nan")], "2024-13-45", "1e5", "0x10"),
)
"""Values that a reader may not expect where another one stands."""


def places(document: Any) -> list[tuple[Any, Any]]:
    """List the container and key of everything in a document, at any depth."""
    found: list[tuple[Any, Any]] = []
    if isinstance(document, dict):
        items: Any = list(document.items())
    elif isinstance(document, list):
        items = list(enumerate(document))
    else:
        return found
    for key, value in items:
        found += [(document, key), *places(value)]
    return found


def change_document(document: Any, random: Random, odd: Sequence[Any] = ODD) -> tuple[str, Any]:
    """Change one thing in a document of JSON or YAML, which is changed in place where it can be."""
    found = places(document)
    if not found or random.random() < 0.05:
        value = random.choice(odd)
        return f"all replaced by {_short(value)}", value
    container, key = random.choice(found)
    how = random.randrange(10)
    if how < 6:
        container[key] = random.choice(odd)
        return f"{_short(key)} became {_short(container[key])}", document
    if how == 6:
        del container[key]
        return f"{_short(key)} removed", document
    if how == 7 and isinstance(container, dict):
        new = random.choice(
            ("", "x", "data", "out", "resume", "path", "settings", "self", "\u202e")
        )
        container[new] = container.pop(key)
        return f"{_short(key)} renamed to {_short(new)}", document
    if how == 8 and isinstance(container, list):
        container.append(container[key])
        return f"item {key} appended again", document
    nested: Any = container[key]
    for _ in range(random.choice((1, 50, 200))):
        nested = [nested]
    container[key] = nested
    return f"{_short(key)} nested in lists", document


def _short(value: Any) -> str:
    return ascii(value)[:60]


def change_json(content: bytes, random: Random) -> Change:
    """Change a JSON file by its structure, or what only its text can say."""
    document = json.loads(content)
    how = random.randrange(12)
    if how == 0:
        depth = random.choice((1000, 100_000))
        bracket = random.choice((b"[", b'{"a":'))
        return f"nested {depth} deep", bracket * depth
    if how == 1 and isinstance(document, dict) and document:
        key = random.choice(list(document))
        twice = f"{{{json.dumps(key)}: {json.dumps(random.choice(ODD[:20]))}, "
        return f"{_short(key)} given twice", (twice + json.dumps(document)[1:]).encode()
    if how == 2:
        done, document = change_document(document, random, ("@",))
        return f"{done}: 5,000 digits", json.dumps(document).replace('"@"', DIGITS).encode()
    if how == 3:
        encoding = random.choice(("utf-8-sig", "utf-16", "utf-32"))
        return f"in {encoding}", content.decode().encode(encoding)
    done, document = change_document(document, random)
    return done, json.dumps(document).encode()


def change_lines(content: bytes, random: Random) -> Change:
    """Change a file of one JSON object a line: one line, or their order and number."""
    lines = content.splitlines(keepends=True)
    number = random.randrange(len(lines))
    how = random.randrange(8)
    if how == 0:
        return f"line {number} removed", b"".join(lines[:number] + lines[number + 1 :])
    if how == 1:
        return f"line {number} twice", b"".join([*lines[:number], lines[number], *lines[number:]])
    if how == 2:
        random.shuffle(lines)
        return "lines shuffled", b"".join(lines)
    if how == 3:
        return "the last line unfinished", b"".join(lines)[: -1 - len(lines[-1]) // 2]
    done, lines[number] = change_json(lines[number], random)
    return f"line {number}: {done}", b"\n".join(line.rstrip(b"\n") for line in lines) + b"\n"


_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(n + 1)}: &{chr(n + 1)} [{','.join([f'*{chr(n)}'] * 9)}]\n" for n in range(97, 105)
)
YAML_TEXTS: tuple[tuple[str, str], ...] = (
    ("an alias bomb", _BOMB),
    ("a list that holds itself", "a: &a [*a]\n"),
    ("a mapping that holds itself", "a: &a {b: *a}\n"),
    ("code", "a: !!python/object/apply:os.system ['touch executed']\n"),
    ("an unknown tag", "a: !thing 3\n"),
    ("a tag that does not fit", "a: !!int three\n"),
    ("a tag of a float that does not fit", "a: !!float [1]\n"),
    ("an impossible date", "a: 2024-13-45\n"),
    ("an impossible time", "a: 2024-01-01 25:61:61\n"),
    ("a timezone that is too far", "a: 2024-01-01 01:01:01 +99:99\n"),
    ("5,000 digits", f"a: {DIGITS}\n"),
    ("5,000 digits to the base of 60", f"a: {'59:' * 2000}59\n"),
    ("nested deep", "a: " + "[" * 20_000),
    ("nested deep by indentation", "".join(f"{' ' * n}a:\n" for n in range(1500))),
    ("a key that is a list", "? [a, b]\n: 1\n"),
    ("a key that is a mapping", "? {a: b}\n: 1\n"),
    ("no key", "? \n: 1\n"),
    ("a key that is a number", "1: 1\n"),
    ("bytes", "a: !!binary AAAA\n"),
    ("bytes that are none", "a: !!binary ä\n"),
    ("a set", "a: !!set {x, y}\n"),
    ("pairs", "a: !!omap [x: 1]\n"),
    ("a merge of nothing", "<<: 3\n"),
    ("two documents", "a: 1\n---\nb: 2\n"),
    ("tabs", "a:\n\tb: 1\n"),
    ("an alias of nothing", "a: *nothing\n"),
    ("a null byte", "a: \0\n"),
    ("half a surrogate", 'a: "\\ud800"\n'),
    ("a directive of another version", "%YAML 9.9\n---\na: 1\n"),
    ("a long key", f"{'k' * 2000}: 1\n"),
    ("text in one line of a megabyte", f"a: '{'x' * 2**20}'\n"),
    ("nothing", ""),
    ("only a comment", "# nothing\n"),
)


def change_yaml(content: bytes, random: Random) -> Change:
    """Change a YAML file by its structure, or by what only YAML can say."""
    document = yaml.safe_load(content)
    if random.random() < 0.5:
        name, text = random.choice(YAML_TEXTS)
        if random.random() < 0.6 and isinstance(document, dict) and document:
            key, rest = random.choice(list(document)), text.partition(":")[2]
            if text.startswith("a: ") and not text.startswith("a: &a [x"):  # in a key's place
                others = {k: v for k, v in document.items() if k != key}
                whole = f"{yaml.safe_dump({key: 0})[:-2]}{rest}{yaml.safe_dump(others)}"
                return f"{_short(key)} became {name}", whole.encode("utf-8", "surrogatepass")
        both = random.choice((text, f"{text}{yaml.safe_dump(document)}"))
        return name, both.encode("utf-8", "surrogatepass")
    if random.random() < 0.15 and isinstance(document, dict) and document:
        key = random.choice(list(document))
        return f"{_short(key)} given twice", content + yaml.safe_dump({key: document[key]}).encode()
    done, document = change_document(document, random)
    return done, yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")


CELLS = (
    *(
        "",
        " ",
        '"',
        '"a',
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\0",
        "../../etc/passwd",
        "/dev/zero",
        "x" * 300,
    ),
    *(
        "x" * 200_000,
        "\x1b[31m",
        "\u202e",
        "中",
        "nan",
        "1e999",
        "a,b",
        "a;b",
        "\r",
        "good",
        "test",
    ),
)


def change_table(content: bytes, random: Random) -> Change:
    """Change a cell, a line or the form of a table or list."""
    lines = content.decode().splitlines()
    number = random.randrange(len(lines))
    how = random.randrange(9)
    if how == 0:
        encoding = random.choice(("utf-8-sig", "utf-16", "latin-1", "cp037"))
        return f"in {encoding}", content.decode().encode(encoding, "replace")
    if how == 1:
        end = random.choice(("\r", "\r\n", "\0", "\n\n", "\u2028"))
        return f"lines end with {end!r}", (end.join(lines) + end).encode()
    if how == 2:
        lines.insert(number, lines[random.randrange(len(lines))])
        return f"a line again at {number}", ("\n".join(lines) + "\n").encode()
    if how == 3:
        del lines[number]
        return f"line {number} removed", ("\n".join(lines) + "\n").encode()
    cells = lines[number].split(",")
    place, cell = random.randrange(len(cells)), random.choice(CELLS)
    if how == 4:
        cells.insert(place, cell)
    elif how == 5:
        del cells[place]
    else:
        cells[place] = cell
    lines[number] = ",".join(cells)
    return f"line {number}, cell {place}: {_short(cell)}", ("\n".join(lines) + "\n").encode()


def change_parquet(content: bytes, random: Random) -> Change:
    """Change a column, a value or the form of a Parquet file, or any of its bytes."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(content))
    column = random.randrange(table.num_columns)
    name, values = table.column_names[column], table.column(column).to_pylist()
    how = random.randrange(8)
    options: dict[str, Any] = {}
    if how == 0:
        table, done = table.drop_columns([name]), f"{name} removed"
    elif how == 1:
        new = random.choice(("", "path", "x", "x" * 5000, "\x1b[31m", "\u202e", "size"))
        names = [new if n == name else n for n in table.column_names]
        table, done = table.rename_columns(names), f"{name} renamed to {_short(new)}"
    elif how == 2:
        odd = random.choice((None, 0, -1, 2**62, 0.5, float("nan"), "", "a\0b", b"\xff", [1], {}))
        table = table.set_column(column, name, pa.array([odd] * len(values)))
        done = f"all of {name} became {_short(odd)}"
    elif how == 3:
        cell = random.choice((*CELLS, "a\0b", "file:///dev/zero", "nowhere://a/b", "s3://"))
        made = [str(value) for value in values]
        made[random.randrange(len(made))] = cell
        table = table.set_column(column, name, pa.array(made))
        done = f"one of {name} became {_short(cell)}"
    elif how == 4:
        table, done = table.slice(0, random.choice((0, 1, len(values) - 1))), "fewer rows"
    elif how == 5:
        table, done = pa.concat_tables([table] * random.choice((2, 30))), "rows repeated"
    elif how == 6:
        options, done = {"row_group_size": 1}, "a row group for each row"
    else:
        table, done = table.append_column(random.choice((name, "x")), pa.nulls(len(values))), "more"
    file = io.BytesIO()
    try:
        pq.write_table(table, file, **options)
    except pa.ArrowException:  # there are tables that Parquet does not hold
        return random.choice(BYTES)(content, random)
    return done, file.getvalue()
