"""Layouts that users declare, in a YAML file or in a plan."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mambaad.data.readers.base import Layout
from mambaad.data.readers.described import Description, layout_of
from mambaad.data.readers.table import COLUMNS, Table
from mambaad.documents import DocumentError, parse_yaml, read_yaml, shortened
from mambaad.errors import ConfigError

_Names = Annotated[
    tuple[str, ...], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)
]

_EXPECTED = {
    "train": "a folder or a list of folders, such as '{class}/train/good'",
    "test": "a folder or a list of folders, such as '{class}/test/{type}'",
    "masks": "a folder or a list of folders, such as '{class}/ground_truth/{type}'",
    "good": "a name or a list of names, such as [good, OK]",
    "mask_suffixes": "an ending or a list of endings, such as [_mask, '']",
    "defective_if": "type, mask or marked",
    "test_share": "a number from 0 to less than 1",
    "test_defective": "true or false",
    "table": "the name of a CSV file",
    "columns": f"names of columns for {', '.join(COLUMNS)}, such as {{image: file}}",
}
"""What a field may hold, in words."""

_OF_TABLES = ("table", "columns", "good")


class Declared(BaseModel):
    """The fields of a declared layout; see :class:`Description` and :class:`Table`.

    Either ``train`` (and ``test``, ``masks``, ...), or ``table`` (and ``columns``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    train: _Names = ()
    test: _Names = ()
    masks: _Names = ()
    good: _Names = ("good",)
    mask_suffixes: _Names = ("_mask", "")
    defective_if: Literal["type", "mask", "marked"] = "type"
    test_share: float = Field(0.0, ge=0, lt=1)
    test_defective: bool = False
    table: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Declared:
        if (self.table is None) == (not self.train):
            raise ValueError("expected either train, with patterns of folders, or table")
        for name in ("train", "test", "masks"):
            for pattern in getattr(self, name):
                _check_pattern(name, pattern)
        for name in ("good", "columns"):
            given = getattr(self, name)
            if any(not text.strip() for text in (given.values() if name == "columns" else given)):
                raise ValueError(f"{name}: expected {_EXPECTED[name]}, got an empty name")
        if self.table is not None and not self.table.strip():
            raise ValueError(f"table: expected {_EXPECTED['table']}, got ''")
        for column in self.columns:
            if column not in COLUMNS:
                raise ValueError(f"columns: {_unknown(column, COLUMNS)}")
        if self.defective_if != "type" and not self.masks:
            raise ValueError(f"defective_if: {self.defective_if} needs masks")
        self._check_use()
        return self

    def _check_use(self) -> None:
        """Refuse what is given and would have no effect."""
        given = self.model_fields_set
        if self.table is not None:
            if unused := sorted(given - set(_OF_TABLES)):
                raise ValueError(f"{unused[0]}: a table does not use it; remove one of them")
            return
        if "columns" in given:
            raise ValueError("columns: only a table has them; give table, or remove them")
        if "mask_suffixes" in given and not self.masks:
            raise ValueError("mask_suffixes: there are no masks; give masks, or remove it")
        if "good" in given and self.defective_if != "type":
            raise ValueError(
                f"good: names do not matter with 'defective_if: {self.defective_if}'; remove one"
            )

    def layout(self) -> Layout:
        """Make the layout."""
        if self.table is not None:
            table = Table(self.table, self.columns, self.good)
            return Layout(
                "declared",
                "your declaration",
                lambda root: False,
                table.class_names,
                table.read_classes,
                form=f"what {self.table} lists",
            )
        fields = self.model_dump(exclude={"table", "columns"})
        description = Description(**fields, all_must_fit=True)
        return layout_of("declared", "your declaration", description, lambda root: False)


def declared(layout: str | Path | Mapping[str, Any]) -> Declared:
    """Read a declared layout from a file, its text in JSON, or its fields.

    Raises:
        ConfigError: a file that cannot be read, or a wrong field; names it.
    """
    flag = "--layout"
    content: Any = layout
    if not isinstance(layout, Mapping):
        is_text = str(layout).lstrip().startswith("{")
        flag = "--layout" if is_text else f"--layout {layout}"
        try:
            if is_text:
                content = parse_yaml(str(layout), "the text", as_text=True)
            else:
                content = read_yaml(Path(layout), as_text=True)
        except DocumentError as error:
            raise ConfigError(f"--layout: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{flag}: expected fields such as 'train: \"{{class}}/train/good\"'")
    try:
        return Declared.model_validate({str(name): value for name, value in content.items()})
    except ValidationError as error:
        raise ConfigError(f"{flag}: {_explained(error)}; see docs/datasets.md") from None


def as_setting(layout: str | Path | Mapping[str, Any] | None) -> str | None:
    """Return a layout as a run keeps it: its name, or what is declared, as text in JSON.

    Raises:
        ConfigError: see :func:`declared`.
    """
    if layout is None:
        return None
    if not isinstance(layout, (str, Path, Mapping)):
        raise ConfigError(
            "--layout: expected a layout's name, a file or the fields that declare one, got "
            f"{shortened(repr(layout))}"
        )
    if isinstance(layout, str):
        is_text = layout.lstrip().startswith("{")
        if not is_text and not layout.endswith((".yaml", ".yml", ".json")):
            return layout
    return json.dumps(declared(layout).model_dump(exclude_defaults=True))


def _explained(error: ValidationError) -> str:
    """Say what the first problem is: the field, what was expected, and what came."""
    first = error.errors()[0]
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ")
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return _unknown(name, _EXPECTED)
    got = json.dumps(first["input"], ensure_ascii=False, default=str)
    return f"{name}: expected {_EXPECTED[name]}, got {shortened(got)}"


def _unknown(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75)
    meant = f", did you mean '{close[0]}'?" if close else ";"
    return f"unknown name '{shortened(name)}'{meant} known are {', '.join(known)}"


def _check_pattern(name: str, pattern: str) -> None:
    shown = shortened(pattern)
    if not pattern.strip():
        raise ValueError(
            f"{name}: expected {_EXPECTED[name]}, got '{shown}'; the data set's own folder is '.'"
        )
    allowed = ("class", "type", "folder", "name") if name == "masks" else ("class", "type")
    rest = pattern
    for field in allowed:
        rest = rest.replace(f"{{{field}}}", "")
    if "{" in rest or "}" in rest:
        fields = ", ".join(f"{{{field}}}" for field in allowed)
        raise ValueError(f"{name}: expected a folder with {fields}, got '{shown}'")
    below = pattern.replace("{folder}/../", "", 1)
    if Path(below).is_absolute() or ".." in Path(below).parts:
        raise ValueError(f"{name}: expected a folder below the data set's, got '{shown}'")
    if name == "masks" and "*" in pattern:
        raise ValueError(f"masks: * has no meaning here, got '{shown}'; write {{folder}}/../NAME")
    if "{folder}" in pattern and not pattern.startswith("{folder}"):
        raise ValueError(f"{name}: {{folder}} begins a pattern, got '{shown}'")
    if "{name}" in pattern and not pattern.endswith("/{name}"):
        raise ValueError(f"{name}: /{{name}} ends a pattern, got '{shown}'")
