"""The page's texts, one YAML file a language; a further language is a further file.

``{fields}`` are filled in; a text with ``one`` and ``other`` is chosen by the field ``n``. What a
language lacks is taken from English.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

FALLBACK = "en"


class Texts:
    """The texts of one language: call it with a key, such as ``t("nav.live")``.

    Attributes:
        language: its code, such as ``"de"``.
    """

    def __init__(
        self, language: str, texts: Mapping[str, Any], fallback: Mapping[str, Any]
    ) -> None:
        self.language = language
        self._texts = texts
        self._fallback = fallback

    def __call__(self, key: str, **fields: object) -> str:
        """Look a text up and fill its fields in; KeyError if no language has it."""
        text = _find(self._texts, key) or _find(self._fallback, key)
        if isinstance(text, dict):
            text = text["one" if fields.get("n") == 1 else "other"]
        if not isinstance(text, str):
            raise KeyError(key)
        return text.format(**fields) if fields else text

    def number(self, value: float | None, digits: int = 0) -> str:
        """Write a number with the language's decimal and thousands separators; None is a dash."""
        if value is None:
            return "–"
        text = f"{round(value, digits) + 0.0:,.{digits}f}"  # no -0
        signs = {",": self("thousands"), ".": self("decimal"), "-": "−"}
        return "".join(signs.get(character, character) for character in text)

    def percent(self, share: float | None) -> str:
        """Write a share as a percentage, with two or three significant digits."""
        if share is None:
            return "–"
        value = 100 * share
        digits = 0 if value in (0, 100) else 1 if value >= 1 else 2 if value >= 0.1 else 3
        return self("percent").format(value=self.number(value, digits))


def _find(texts: Mapping[str, Any], key: str) -> Any:
    found: Any = texts
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


@cache
def read_texts(language: str) -> Texts:
    """Read the texts of a language; KeyError without a file for it."""
    found = _files()
    return Texts(language, found[language], found[FALLBACK])


@cache
def languages() -> dict[str, str]:
    """The names of the languages by code, the fallback first."""
    found = {code: str(texts["language"]) for code, texts in _files().items()}
    return {FALLBACK: found[FALLBACK], **dict(sorted(found.items()))}


@cache
def _files() -> dict[str, Mapping[str, Any]]:
    folder = files("mambaad.serve.page") / "texts"
    return {
        entry.name.removesuffix(".yaml"): yaml.safe_load(entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }


def preferred(accepted: str | None, chosen: str | None) -> str:
    """Choose a language: the one that was chosen, else the first accepted one that there is.

    Args:
        accepted: the header Accept-Language.
        chosen: the code that the user chose before, if any.
    """
    if chosen in languages():
        return str(chosen)
    weighted = []
    for order, entry in enumerate((accepted or "")[:1000].split(",")):
        code, _, weight = entry.strip().partition(";q=")
        try:
            weighted.append((-float(weight or 1), order, code.split("-")[0].lower()))
        except ValueError:
            continue
    return next((code for _, _, code in sorted(weighted) if code in languages()), FALLBACK)
