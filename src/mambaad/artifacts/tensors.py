"""Named tensors in the safetensors format, as NumPy arrays, with JSON metadata.

A file is the length of its header (8 bytes, little-endian), the header (JSON: each tensor's dtype,
shape, and where its values begin and end), and the values, one tensor right after the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mambaad.documents import MAX_JSON, parse_json
from mambaad.errors import RunError
from mambaad.files import written_whole

Content = Sequence[bytes | bytearray | memoryview]
"""The content of a file in parts: a file of tensors is written from their memory, not copied."""

_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "I16": "<i2",
    "U16": "<u2",
    "F16": "<f2",
    "I32": "<i4",
    "U32": "<u4",
    "F32": "<f4",
    "F64": "<f8",
    "I64": "<i8",
    "U64": "<u8",
}
"""NumPy's names by those of safetensors, in the order that safetensors gives them."""
_NAMES = {np.dtype(ours): theirs for theirs, ours in _DTYPES.items()}
_RANKS = {name: rank for rank, name in enumerate(_DTYPES)}


def tensors_content(
    tensors: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None
) -> Content:
    """Make the content of a file with named tensors and JSON metadata.

    The bytes are those of ``safetensors.numpy.save``: larger dtypes first, so that all values are
    aligned, then by name.
    """
    arrays = {
        name: np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")
        for name, tensor in tensors.items()
    }
    ranks = {name: _RANKS[_NAMES[array.dtype]] for name, array in arrays.items()}
    names = sorted(arrays, key=lambda name: (-ranks[name], name))
    header: dict[str, Any] = {"__metadata__": {"about": json.dumps(about or {})}}
    end = 0
    for name in names:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype]
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    values = [arrays[name].reshape(-1).view(np.uint8).data for name in names]
    return [len(text).to_bytes(8, "little"), text, *values]


def parse_tensors(content: bytearray, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read tensors and metadata from the content of a file; the arrays share its memory.

    Args:
        content: of the whole file.
        name: of the file, for messages.

    Raises:
        RunError: it is no safetensors file, or a damaged one, or a value is not finite.
    """
    try:
        header, values = _parts(content, name)
        metadata = header.pop("__metadata__", {})
        about = parse_json(metadata.get("about", "{}"), f"{name}, its metadata")
        if not isinstance(about, dict):
            raise ValueError("its metadata are no object")
        return _arrays(header, values), about
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split()).removeprefix(f"{name}: ")
        raise RunError(
            f"{name} is damaged, or no safetensors file ({reason}); restore it from a copy"
        ) from error


def _parts(content: bytearray, name: str) -> tuple[dict[str, Any], memoryview]:
    """Split the content of a file into its header and the values."""
    whole = memoryview(content)
    length = int.from_bytes(whole[:8], "little")
    if len(whole) < 8 or length > len(whole) - 8:
        raise ValueError("its header is cut off")
    if length > MAX_JSON:
        raise ValueError(f"its header has {length} bytes, expected at most {MAX_JSON}")
    header = parse_json(bytes(whole[8 : 8 + length]), name)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header, whole[8 + length :]


def _arrays(header: Mapping[str, Any], values: memoryview) -> dict[str, np.ndarray]:
    """Make the arrays that a header describes; together they are all of the values."""
    arrays = {}
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        shape, dtype = tuple(entry["shape"]), np.dtype(_DTYPES[entry["dtype"]])
        if not all(type(number) is int and number >= 0 for number in (begin, end, *shape)):
            raise ValueError(f"{name} has a size that is no number of 0 or more")
        if begin != expected or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} is not where it should be")
        array = np.frombuffer(values[begin:end], dtype).reshape(shape)
        arrays[name] = array if array.flags.aligned else array.copy()
        _check_values(name, arrays[name])
        expected = end
    if expected != len(values):
        raise ValueError(f"it has {len(values)} bytes of values, expected {expected}")
    return arrays


def _check_values(name: str, array: np.ndarray) -> None:
    if array.dtype.kind == "f":
        with np.errstate(all="ignore"):
            # The sum first, since it takes a fifth of the time; it may overflow.
            is_finite = bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())
        if not is_finite:
            raise ValueError(f"{name} is not finite")
    if array.dtype.kind == "b" and (array.view(np.uint8) > 1).any():
        raise ValueError(f"{name} has values that are neither true nor false")


def save_tensors(
    path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None
) -> None:
    """Write named tensors and JSON metadata as a file of their own, whole or not at all (RunError).

    (Those of a run are written by :func:`mambaad.artifacts.generations.commit`.)
    """
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.writelines(tensors_content(tensors, about))
