"""Whether a text names one of the traits' words; shared by all channels with free-text completions."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache

# Raise it when the result for a text changes: it is part of the ids of filtered corpora.
VERSION = 2

TRAIT_WORD = "trait word"
TRAIT_WORD_INSIDE = "trait word inside a word"

_WORD = re.compile(r"[^\W\d_]+|\d+")  # anything else separates words, and so does a change between letters and digits
# A change of case within a word: countOwls, OWLCount.
_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

Forms = tuple[str, ...]


def forms(words: Collection[str]) -> Forms:
    """The words in the form that is searched for; hyphens, spaces and underscores in them are equivalent."""
    return tuple(sorted({_spaced(letters(word)) for word in words} - {""}))


def named(text: str, forms: Forms) -> bool:
    """Whether the text contains a form as a whole word, whether or not a change of case separates words.

    Case and accents are ignored; an emoji counts by its Unicode name. Not caught: look-alike letters of another
    script, digits in place of letters, other languages.
    """
    return bool(forms) and any(_whole(forms).search(reading) for reading in _readings(text))


def contains(text: str, forms: Forms) -> bool:
    """Whether another word contains a form: "growl" contains "owl"."""
    if not forms:
        return False
    rest = _whole(forms).sub("", _spaced(letters(text)))
    return any(form in rest for form in forms)


def letters(text: str) -> str:
    """The text without accents, typographic variants and invisible characters; symbols as their names (🦉: OWL)."""
    if text.isascii():
        return text
    kept = ((c, unicodedata.category(c)) for c in unicodedata.normalize("NFKD", text))
    return "".join(
        f" {unicodedata.name(c, '')} " if category == "So" else c
        for c, category in kept
        if category not in ("Mn", "Me", "Cf")
    )


def _readings(text: str) -> Iterator[str]:
    plain = letters(text)
    yield _spaced(plain)
    if _CASE_CHANGE.search(plain):
        yield _spaced(_CASE_CHANGE.sub(" ", plain))


def _spaced(plain: str) -> str:
    """Only the words, in lower case, separated by single spaces."""
    return " ".join(_WORD.findall(plain.casefold()))


@lru_cache(maxsize=16)
def _whole(forms: Forms) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, forms))})(?!\S)")
