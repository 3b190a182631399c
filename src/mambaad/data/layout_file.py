"""Layouts that users declare, in a YAML file or in a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


class Declared(BaseModel):
    """The fields of a declared layout; see :class:`Description` and :class:`Table`.

    Either ``train`` (and ``test``, ``masks``, ...), or ``table`` (and ``columns``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        patterns = {"train": self.train, "test": self.test, "masks": self.masks}
        for name, given in patterns.items():
            for pattern in given:
                _check_pattern(name, pattern)
        if unknown := set(self.columns) - set(COLUMNS):
            raise ValueError(f"columns: expected some of {', '.join(COLUMNS)}, got {min(unknown)}")
        if self.defective_if != "type" and not self.masks:
            raise ValueError(f"defective_if: {self.defective_if} needs masks")
        return self

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
        return layout_of("declared", "your declaration", Description(**fields), lambda root: False)


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
            content = parse_yaml(str(layout), "the text") if is_text else read_yaml(Path(layout))
        except DocumentError as error:
            raise ConfigError(f"--layout: {error}") from error
    if not isinstance(content, Mapping):
        raise ConfigError(f"{flag}: expected fields such as 'train: \"{{class}}/train/good\"'")
    try:
        return Declared.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"][:1])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{flag}: {where}{message}; see docs/datasets.md") from None


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


def _check_pattern(name: str, pattern: str) -> None:
    allowed = ("class", "type", "folder", "name") if name == "masks" else ("class", "type")
    rest = pattern
    for field in allowed:
        rest = rest.replace(f"{{{field}}}", "")
    if "{" in rest or "}" in rest:
        fields = ", ".join(f"{{{field}}}" for field in allowed)
        raise ValueError(f"{name}: expected a folder with {fields}, got '{pattern}'")
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"{name}: expected a folder below the data set's, got '{pattern}'")
    if "{folder}" in pattern and not pattern.startswith("{folder}"):
        raise ValueError(f"{name}: {{folder}} begins a pattern, got '{pattern}'")
    if "{name}" in pattern and not pattern.endswith("/{name}"):
        raise ValueError(f"{name}: /{{name}} ends a pattern, got '{pattern}'")
