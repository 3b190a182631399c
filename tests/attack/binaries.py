"""Changes of tensors, archives, pickled checkpoints and images, by their structure."""

from __future__ import annotations

import binascii
import hashlib
import io
import json
import struct
import zipfile
from random import Random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from tests.attack.mutations import BYTES, Change, change_document, change_json

_ABOUT = "about"  # where mambaad.artifacts.tensors keeps JSON
POSITIONS = (-5, -1, 0, 1, 99, 10**9, 2**63, 0.5, "1", None, True, [1])
_TYPES = (np.float64, np.float16, np.int64, np.int8, np.bool_, np.uint32)
_FILLS = (np.nan, np.inf, -np.inf, 0.0, 1e30, -1.0)


def parse_tensors(content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a safetensors file, and its JSON."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return load(content), json.loads(header.get("__metadata__", {}).get(_ABOUT, "{}"))


def change_tensors(content: bytes, random: Random) -> Change:
    """Change one tensor's shape, type, values or name, the JSON beside them, or the header."""
    how = random.randrange(10)
    if how == 0:
        length = random.choice((0, 1, 2**20, 2**31, 2**63, 2**64 - 1))
        return f"a header of {length} bytes", struct.pack("<Q", length) + content[8:]
    if how == 1:
        length = struct.unpack("<Q", content[:8])[0]
        done, header = change_json(content[8 : 8 + length], random)
        rest = content[8 + length :]
        return f"header: {done}", struct.pack("<Q", len(header)) + header + rest
    tensors, about = parse_tensors(content)
    if how <= 4 and about:
        counters = sorted({"epoch", "step", "loss_sum", "seconds"} & set(about))
        if counters and random.random() < 0.6:
            name = random.choice(counters)
            about[name] = random.choice(POSITIONS)
            done = f"{name} became {about[name]!r}"
        else:
            done, about = change_document(about, random)
    else:
        done = change_tensor(tensors, random)
    return done, save(tensors, {_ABOUT: json.dumps(about)})


def change_tensor(tensors: dict[str, np.ndarray], random: Random) -> str:
    """Change one tensor in place; returns what was done."""
    name = random.choice(sorted(tensors))
    tensor, how = tensors[name], random.randrange(8)
    if how == 0:
        del tensors[name]
        return f"{name} removed"
    if how == 1:
        tensors[f"{name}.more"] = tensor
        return f"{name} added under another name"
    if how == 2:
        other = random.choice(_TYPES)
        tensors[name] = tensor.astype(other)
        return f"{name} became {np.dtype(other)}"
    if how in (3, 4):
        shape = random.choice(((), (0,), (1,), (3, 3), (*tensor.shape, 1), tensor.shape[1:]))
        tensors[name] = np.ones(shape, tensor.dtype)
        return f"{name} got shape {shape}"
    changed, fill = np.array(tensor), random.choice(_FILLS)
    if changed.size == 0:
        return "nothing"
    if changed.dtype.kind != "f":
        fill = random.choice((-1, 0, 7, 2**31 - 1)) % 128
    if how == 5:
        changed[...] = fill
    else:
        changed.flat[random.randrange(changed.size)] = fill
    tensors[name] = changed
    return f"{name}: {'all' if how == 5 else 'one'} became {fill}"


def members_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def sealed(members: dict[str, bytes], manifest: str) -> bytes:
    """An archive whose manifest is made to fit its members."""
    about = json.loads(members[manifest])
    about["files"] = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name != manifest
    }
    return archive_of(list({**members, manifest: json.dumps(about).encode()}.items()))


def change_archive(content: bytes, random: Random) -> Change:
    """Change which members an archive has, how they are stored, or what its entries declare."""
    members = list(members_of(content).items())
    number = random.randrange(len(members))
    name, data = members[number]
    how = random.randrange(7)
    if how == 0:
        other = random.choice(("../x", "/tmp/x", "a/b", "", ".", "c.py", "\\x", "x" * 9000, "NUL"))
        members.append((other, b"x"))
        return f"a member {other[:20]!r}", archive_of(members)
    if how == 1:
        members.append((name, random.choice((data, b"", data[::-1]))))
        return f"{name} twice", _quietly_archived(members)
    if how == 2:
        del members[number]
        return f"{name} removed", archive_of(members)
    if how == 3:
        return "compressed", archive_of(members, zipfile.ZIP_DEFLATED)
    if how == 4:
        place = content.rindex(b"PK\1\2") if random.random() < 0.5 else content.index(b"PK\3\4")
        offset = random.choice((6, 8, 10, 18, 20, 22, 24, 28, 30, 42))
        value = random.choice((0, 1, 0xFFFF, 0xFFFFFFFF, 2**31))
        changed = bytearray(content)
        changed[place + offset : place + offset + 4] = struct.pack("<I", value)
        return f"{value} at {offset} of the entry at {place}", bytes(changed)
    if how == 5:
        return "something before it", b"x" * random.choice((1, 100)) + content
    done, changed_data = random.choice(BYTES)(data, random)
    members[number] = (name, changed_data)
    return f"{name}: {done}, checksum made to fit", archive_of(members)


def _quietly_archived(members: list[tuple[str, bytes]]) -> bytes:
    import warnings

    with warnings.catch_warnings():  # zipfile's of a name that is there twice
        warnings.simplefilter("ignore")
        return archive_of(members)


def change_sealed(content: bytes, random: Random) -> Change:
    """Change a member by its structure, and make the bundle's manifest fit: as an attacker would.

    What it says may then be used, so only that it is refused in one line, or works, is known.
    """
    members = members_of(content)
    name = random.choice(sorted(members))
    if name.endswith(".safetensors"):
        done, members[name] = change_tensors(members[name], random)
    else:
        done, members[name] = change_json(members[name], random)
        if name == "bundle.json":
            return f"{name}: {done}", archive_of(list(members.items()))
    return f"{name}: {done}, sealed", sealed(members, "bundle.json")


def change_pickled(content: bytes, random: Random) -> Change:
    """Change a checkpoint of PyTorch: what is in it, or code in the place of tensors."""
    import torch

    state = torch.load(io.BytesIO(content), weights_only=True)
    inner = state.get("net", state)
    name = random.choice(list(inner))
    odd = (3, None, "text", 2.5, [], {}, torch.tensor(3), torch.zeros(0), torch.zeros(1, 2, 3))
    how = random.randrange(8)
    done = f"{name} changed"
    if how == 0:
        inner[random.choice((3, None, ("a",), b"x", 2.5))] = inner.pop(name)
        done = f"{name} under a key that is no text"
    elif how == 1:
        inner[name] = random.choice(odd)
    elif how == 2:
        state = random.choice((*odd, [inner], {"net": None}, {"net": 3}, {"a": {"b": inner}}))
        done = f"all replaced by a {type(state).__name__}"
    elif how == 3:
        del inner[name]
        done = f"{name} removed"
    elif how == 4:
        tensor = inner[name]
        types = (torch.float64, torch.float16, torch.int8, torch.bool, torch.complex64)
        inner[name] = random.choice(
            (
                *(tensor.to(t) for t in types),
                tensor.flatten(),
                tensor * torch.nan,
                tensor.to_sparse(),
            )
        )
    elif how == 5:
        state = _Code()
        done = "code"
    else:
        return random.choice(BYTES)(content, random)
    file = io.BytesIO()
    torch.save(state, file)
    return done, file.getvalue()


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch executed",)


def change_maps(content: bytes, random: Random) -> Change:
    """Change the shape, the type or a value of an array as NumPy stores it."""
    maps = np.load(io.BytesIO(content))
    how = random.randrange(4)
    if how == 0:
        done, maps = "cut", maps[: random.randrange(len(maps))]
    elif how == 1:
        other = random.choice(_TYPES)
        with np.errstate(invalid="ignore"):
            done, maps = f"became {np.dtype(other)}", maps.astype(other)
    elif how == 2:
        done, maps = "turned", np.asfortranarray(maps.swapaxes(1, 2))
    else:
        fill = random.choice(_FILLS)
        with np.errstate(over="ignore"):
            maps.flat[random.randrange(maps.size)] = fill
        done = f"one became {fill}"
    file = io.BytesIO()
    np.save(file, maps)
    return done, file.getvalue()


def change_graph(content: bytes, random: Random) -> Change:
    """Change one node, attribute, tensor, output or version of an ONNX model."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    node = random.choice(list(graph.node))
    how = random.randrange(9)
    if how == 0:
        done = f"{node.op_type} removed"
        graph.node.remove(node)
    elif how == 1:
        other = random.choice(("Identity", "Relu", "Loop", "If", "Shape", "Nothing", "MatMul"))
        done, node.op_type = f"{node.op_type} became {other}", other
    elif how == 2 and node.input:
        place = random.randrange(len(node.input))
        known = [name for one in graph.node for name in one.output]
        node.input[place] = random.choice(("", "nothing", *node.output, random.choice(known)))
        done = f"an input of {node.op_type} became {node.input[place]}"
    elif how == 3 and graph.initializer:
        tensor = random.choice(list(graph.initializer))
        dims = random.choice(((), (0,), (1,), (-1,), (2**40,), (3, 3), (2**31, 2**31)))
        del tensor.dims[:]
        tensor.dims.extend(dims)
        done = f"{tensor.name} has shape {dims}"
    elif how == 4 and graph.initializer:
        tensor = random.choice(list(graph.initializer))
        tensor.data_type = random.choice((0, 2, 7, 8, 10, 99))
        done = f"{tensor.name} has type {tensor.data_type}"
    elif how == 5 and graph.initializer:
        tensor = random.choice(list(graph.initializer))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", random.choice(("/etc/passwd", "../x", "/dev/zero"))
        tensor.ClearField("raw_data")
        done = f"{tensor.name} is in {entry.value}"
    elif how == 6:
        output = random.choice(list(graph.output))
        done = f"output {output.name} removed"
        graph.output.remove(output)
    elif how == 7 and model.opset_import:
        version = random.choice(list(model.opset_import))
        version.version = random.choice((0, -1, 1, 99, 2**62))
        done = f"version {version.version} of '{version.domain}'"
    else:
        ints = [a for n in graph.node for a in n.attribute if a.ints or a.type == 2]
        if not ints:
            return random.choice(BYTES)(content, random)
        attribute = random.choice(ints)
        value = random.choice((0, -1, 1, 2**31, 2**62, -(2**62)))
        if attribute.ints:
            attribute.ints[random.randrange(len(attribute.ints))] = value
        else:
            attribute.i = value
        done = f"{attribute.name} became {value}"
    return done, model.SerializeToString()


_EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 65536, 2**24)


def change_image(content: bytes, random: Random) -> Change:
    """Change a number in an image's header, such as its size, or a block of its data."""
    if random.random() < 0.5:
        return random.choice(BYTES)(content, random)
    changed = bytearray(content)
    if content.startswith(b"\x89PNG"):
        return _change_png(content, random)
    order = random.choice("<>")
    if content[:2] in (b"II", b"MM"):  # a value of a tag of TIFF's list
        order = "<" if content[:2] == b"II" else ">"
        first = struct.unpack(f"{order}I", content[4:8])[0]
        count = struct.unpack(f"{order}H", content[first : first + 2])[0]
        place = first + 2 + 12 * random.randrange(count) + random.choice((0, 2, 4, 8, 8, 8))
    else:
        place = random.randrange(
            2, min(len(content) - 4, 400 if content[:2] == b"\xff\xd8" else 60)
        )
    value, form = random.choice(_EXTREMES), random.choice("HI")
    packed = struct.pack(f"{order}{form}", value % (2**16 if form == "H" else 2**32))
    changed[place : place + len(packed)] = packed
    return f"{value} as {order}{form} at {place}", bytes(changed)


def _change_png(content: bytes, random: Random) -> Change:
    """Change a chunk, with its checksum made to fit."""
    chunks, place = [], 8
    while place + 8 <= len(content):
        length = struct.unpack(">I", content[place : place + 4])[0]
        chunks.append([content[place + 4 : place + 8], content[place + 8 : place + 8 + length]])
        place += 12 + length
    number = random.randrange(len(chunks))
    kind, data = chunks[number]
    how = random.randrange(5)
    if how == 0:
        del chunks[number]
    elif how == 1:
        chunks.insert(random.randrange(len(chunks) + 1), [kind, data])
    elif how == 2:
        _, chunks[number][1] = random.choice(BYTES)(data, random)
    elif how == 3:
        header = bytearray(chunks[0][1].ljust(13, b"\0"))
        place, size = random.choice(((0, 4), (4, 4), (8, 1), (9, 1), (10, 1), (12, 1)))
        header[place : place + size] = (random.choice(_EXTREMES) % 256**size).to_bytes(size, "big")
        chunks[0][1] = bytes(header)
    else:
        new = random.choice((b"acTL", b"tRNS", b"PLTE", b"iCCP", b"eXIf", b"zTXt", b"gAMA"))
        chunks.insert(1, [new, random.randbytes(random.choice((0, 3, 8, 900)))])
    whole = b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", binascii.crc32(k + d))
        for k, d in chunks
    )
    return f"chunk {number} {kind!r}, way {how}", content[:8] + whole
