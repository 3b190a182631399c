import re
from importlib.resources import files
from string import Formatter

import pytest
import yaml

from mambaad.serve.page.texts import languages, preferred, read_texts

FOLDER = files("mambaad.serve.page")


def flat(texts, prefix=""):
    for key, value in texts.items():
        if isinstance(value, dict) and set(value) != {"one", "other"}:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def raw(language):
    return dict(flat(yaml.safe_load((FOLDER / "texts" / f"{language}.yaml").read_text("utf-8"))))


def fields(text):
    forms = text.values() if isinstance(text, dict) else [text]
    return {name for form in forms for _, name, _, _ in Formatter().parse(form) if name}


def test_every_language_has_the_same_texts_and_fields():
    english = raw("en")
    for language in languages():
        other = raw(language)
        assert set(other) == set(english), language
        for key, text in english.items():
            assert fields(other[key]) == fields(text), (language, key)
            assert isinstance(other[key], dict) == isinstance(text, dict), (language, key)


def test_every_text_that_a_template_asks_for_exists():
    keys, asked = raw("en"), set()
    groups = {key.rpartition(".")[0] for key in keys}
    for entry in (FOLDER / "templates").iterdir():
        source = entry.read_text("utf-8")
        asked |= set(re.findall(r'\bt\("([^"]+)"[,)]', source))
        for group in re.findall(r'\bt\("([^"]+)\." ~', source):
            assert group in groups, (entry.name, group)
    assert len(asked) > 100
    assert asked <= set(keys), asked - set(keys)


def test_no_template_has_words_of_its_own():
    for entry in (FOLDER / "templates").iterdir():
        source = entry.read_text("utf-8")
        bare = re.sub(
            r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}|<[^>]*>|&\w+;", " ", source, flags=re.DOTALL
        )
        bare = re.sub(r"<[^>]*>", " ", bare)
        words = set(re.findall(r"[A-Za-zÄÖÜäöü]{2,}", bare))
        assert words <= {"MambaAD", "px", "mm"}, (entry.name, words)


@pytest.mark.parametrize(
    ("language", "value", "digits", "expected"),
    [
        ("en", 1234567.5, 1, "1,234,567.5"),
        ("de", 1234567.5, 1, "1.234.567,5"),
        ("de", -0.25, 2, "−0,25"),
        ("en", None, 2, "–"),
    ],
)
def test_numbers_are_written_as_the_language_does(language, value, digits, expected):
    assert read_texts(language).number(value, digits) == expected


@pytest.mark.parametrize(
    ("share", "english", "german"),
    [
        (0.0, "0%", "0\u00a0%"),
        (1.0, "100%", "100\u00a0%"),
        (0.0123, "1.2%", "1,2\u00a0%"),
        (0.0016, "0.16%", "0,16\u00a0%"),
        (0.00016, "0.016%", "0,016\u00a0%"),
        (None, "–", "–"),
    ],
)
def test_percentages(share, english, german):
    assert read_texts("en").percent(share) == english
    assert read_texts("de").percent(share) == german


def test_one_and_other():
    assert read_texts("en")("live.hours", n=1) == "1 hour"
    assert read_texts("de")("live.hours", n=8) == "8 Stunden"
    with pytest.raises(KeyError):
        read_texts("en")("nav.nothing")


@pytest.mark.parametrize(
    ("accepted", "chosen", "expected"),
    [
        ("de-DE,de;q=0.9,en;q=0.8", None, "de"),
        ("fr,en;q=0.5,de;q=0.7", None, "de"),
        ("fr", None, "en"),
        (None, None, "en"),
        ("en", "de", "de"),
        ("de", "../../etc", "de"),
        ("de;q=high", None, "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_the_first_accepted(accepted, chosen, expected):
    assert preferred(accepted, chosen) == expected
