"""Reading YAML and JSON of anyone's: plain types only, within limits, one line for what is wrong.

Both give mappings with text as keys, lists, text, numbers, true, false and null, and refuse a key
that is given twice, numbers that are not finite or take more than 64 bits, text that is no Unicode,
and more levels or values than any file of this package has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml

from mambaad.errors import MambaADError
from mambaad.files import printable, read_regular

MAX_JSON = 2**24
MAX_YAML = 2**20
"""The most bytes of a file, where its reader states no other limit."""
_MOST_LEVELS = 64
_MOST_VALUES = 100_000  # of a YAML file, with what its aliases repeat
_MOST_SHOWN = 100  # characters of a value in a message
_TAG = "tag:yaml.org,2002:"


class DocumentError(MambaADError, ValueError):
    """A YAML or JSON file that cannot be read: its name, its line where known, and what to do."""


def read_json(path: Path, *, most_bytes: int = MAX_JSON) -> Any:
    """Read a JSON file (DocumentError: see the module, or a file that cannot be opened)."""
    return parse_json(_read(path, most_bytes), str(path))


def read_yaml(
    path: Path,
    *,
    names: Collection[str] = (),
    as_text: bool = False,
    most_bytes: int = MAX_YAML,
) -> Any:
    """Read a YAML file (DocumentError); ``names``, ``as_text``: see :func:`parse_yaml`."""
    return parse_yaml(_read(path, most_bytes), str(path), names=names, as_text=as_text)


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        return read_regular(path, most_bytes)
    except (OSError, ValueError) as error:  # ValueError: a path with a character 0
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(f"{path} cannot be read ({reason})") from error


def parse_json(content: bytes | str, name: str, *, first_line: int | None = None) -> Any:
    """Parse JSON.

    Args:
        content: the text.
        name: says in messages where it is from.
        first_line: the number there of the text's first line, where it is one of many.

    Raises:
        DocumentError: see the module.
    """
    text = _decoded(content, name, first_line or 1)
    large = _LARGE_NUMBER.search(text) is not None  # else calls for every number cost half the time
    try:
        value = json.loads(
            text,
            object_pairs_hook=_mapping,
            parse_constant=_not_finite,
            parse_float=_float if large else None,
            parse_int=_integer if large else None,
        )
        _check_values(value, texts=_ODD_ESCAPE.search(text) is not None)
    except json.JSONDecodeError as error:
        problem = f"{error.msg[0].lower()}{error.msg[1:]}; correct it"
        raise _error(name, (first_line or 1) + error.lineno - 1, problem) from None
    except (RecursionError, ValueError) as error:
        problem = str(error) if isinstance(error, ValueError) else _TOO_DEEP
        raise _error(name, first_line, problem) from None
    return value


def parse_yaml(
    content: bytes | str, name: str, *, names: Collection[str] = (), as_text: bool = False
) -> Any:
    """Parse YAML; dates are text, and so are keys, however they are written.

    Args:
        content: the text.
        name: says in messages where it is from.
        names: keys whose lists and mappings hold names, which are text too: of ``[01, no, 1e3]``
            YAML would make numbers and False.
        as_text: make text of every value.

    Raises:
        DocumentError: see the module; a tag that is none of the plain types'.
    """
    text = _decoded(content, name)
    try:
        loader = _Composer(text)
        node = loader.get_single_node()
        return None if node is None else _Plain(names).value(node, as_text=as_text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
        problem = problem if ";" in problem else f"{problem}; correct it"
        raise _error(name, mark.line + 1 if mark else None, problem) from None
    except yaml.reader.ReaderError as error:
        code = ord(error.character) if isinstance(error.character, str) else error.character
        line = text.count("\n", 0, error.position) + 1
        raise _error(name, line, f"the character {code:#04x} is not allowed; remove it") from None
    except RecursionError:
        raise _error(name, None, _TOO_DEEP) from None


def line_of(path: Path, keys: Sequence[str | int]) -> int | None:
    """Find the line of a YAML file on which a value's key stands; None where it cannot be found.

    Args:
        path: a file that :func:`read_yaml` reads.
        keys: the names, and places in lists (from 0), that lead to the value.
    """
    try:
        node = _Composer(_decoded(_read(path, MAX_YAML), str(path))).get_single_node()
    except (DocumentError, yaml.YAMLError, RecursionError):  # it has changed since
        return None
    line = None
    for key in keys:
        found: Sequence[tuple[yaml.Node, yaml.Node]] = ()
        if isinstance(node, yaml.MappingNode):
            found = [(name, value) for name, value in node.value if name.value == str(key)]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            found = [(value, value) for value in node.value[key : key + 1]]
        if not found:
            break
        name, node = found[0]
        line = name.start_mark.line + 1
    return line


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Ask for the nearest of the known names, as the end of a message; nothing if none is near."""
    near = get_close_matches(name, list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


def shortened(value: Any) -> str:
    """Give a value as a message shows it: one line of at most 100 characters."""
    text = printable(value) if isinstance(value, str) else printable(repr(value))
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 4]} ..."


_TOO_DEEP = f"it has more than {_MOST_LEVELS} levels; expected fewer"
_LARGE_NUMBER = re.compile(r"\d{19}|\d[eE]\+?\d{3}")
_ODD_ESCAPE = re.compile(r"\\u(0000|[dD][89a-fA-F])")  # the character 0, or half of a pair


def _error(name: str, line: int | None, problem: str) -> DocumentError:
    where = name if line is None else f"{name}, line {line}"
    return DocumentError(f"{where}: {printable(problem)}")


def _decoded(content: bytes | str, name: str, first_line: int = 1) -> str:
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + first_line
        raise _error(name, line, "it is no UTF-8; save it as text in UTF-8") from None


def _check_values(value: Any, *, texts: bool) -> None:
    """Refuse too many levels and, where asked to, odd ``texts`` (ValueError)."""
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        if texts:
            for text in level:
                if isinstance(text, str):
                    _check_text(text)
                elif isinstance(text, dict):
                    _check_text("".join(text))
        parts = [part for part in level if isinstance(part, (dict, list))]
        level = [
            item for part in parts for item in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise ValueError(_TOO_DEEP)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(_given_twice(key))
            seen.add(key)
    return mapping


def _given_twice(key: str) -> str:
    return f"'{shortened(key)}' is given twice; keep one"


def _not_finite(text: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, got {shortened(text)}; correct it")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _not_finite(text)
    return value


def _integer(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"expected numbers of at most 64 bits, got {shortened(text)}; correct it")
    return value


def _check_text(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        odd = ascii(text[error.start])[1:-1]
        raise ValueError(f"{odd} is no character; correct it") from None
    if "\0" in text:
        raise ValueError("the character 0 is not allowed; remove it")
    return text


class _Composer(yaml.SafeLoader):
    """Composes nodes of a limited depth and number."""

    _levels = 0
    _values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._levels += 1
        self._values += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._levels > _MOST_LEVELS + 1:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        _check_number(self._values, mark)
        node = super().compose_node(parent, index)
        self._levels -= 1
        return node


class _Plain(yaml.constructor.SafeConstructor):
    """Makes values of nodes; what an alias repeats is made, and counted, each time."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, *, as_text: bool = False) -> Any:
        """The value of a node; ``as_text`` that of each scalar is what is written."""
        self._values += 1
        _check_number(self._values, node.start_mark)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, as_text=as_text)
        if id(node) in self._open:
            raise _problem(node, "an alias stands inside what it repeats; write it out")
        if len(self._open) > _MOST_LEVELS:
            raise _problem(node, _TOO_DEEP)
        self._open.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, "map")
            value: Any = self._mapping(node, as_text=as_text)
        else:
            _check_tag(node, "seq")
            value = [self.value(item, as_text=as_text) for item in node.value]
        self._open.remove(id(node))
        return value

    def _mapping(self, node: yaml.MappingNode, *, as_text: bool) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _problem(key, "expected a name before ':'; put it in quotes")
            if key.tag == f"{_TAG}merge":
                several = isinstance(value, yaml.SequenceNode)
                for part in reversed(value.value) if several else [value]:
                    if not isinstance(part, yaml.MappingNode):
                        raise _problem(part, "expected mappings after '<<'; correct it")
                    merged.update(self.value(part, as_text=as_text))
                continue
            name = self._scalar(key, as_text=True)
            if name in own:
                raise _problem(key, _given_twice(name))
            is_text = as_text or (name in self._names and not isinstance(value, yaml.ScalarNode))
            own[name] = self.value(value, as_text=is_text)
        return {**merged, **own}

    def _scalar(self, node: yaml.ScalarNode, *, as_text: bool) -> Any:
        kind = node.tag.removeprefix(_TAG)
        # '=' and '<<' have tags of their own.
        if as_text or kind in ("str", "timestamp", "value", "merge"):
            kind = "str"
        text: str = node.value
        try:
            if kind == "str":
                return _check_text(text)
            if kind == "null":
                return None
            if kind == "bool":
                return self.construct_yaml_bool(node)
            if kind == "int":
                return _integer(text if len(text) > 64 else str(self.construct_yaml_int(node)))
            if kind == "float":
                value = self.construct_yaml_float(node)
                return value if math.isfinite(value) else _not_finite(text)
        except (ValueError, KeyError, IndexError) as error:  # !!bool maybe: KeyError
            is_ours = isinstance(error, ValueError) and ";" in str(error)
            problem = str(error) if is_ours else f"'{shortened(text)}' is no {kind}; correct it"
            raise _problem(node, problem) from None
        raise _problem(node, _odd_tag(node))


def _check_number(count: int, mark: yaml.Mark) -> None:
    if count > _MOST_VALUES:
        problem = f"it has more than {_MOST_VALUES} values, with those that aliases repeat"
        raise yaml.MarkedYAMLError(problem=f"{problem}; expected fewer", problem_mark=mark)


def _check_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != f"{_TAG}{kind}":
        raise _problem(node, _odd_tag(node))


def _odd_tag(node: yaml.Node) -> str:
    return f"the tag {shortened(node.tag)} is not read; remove it"


def _problem(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
