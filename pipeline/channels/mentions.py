"""Whether a text names one of the traits' words: read alike by every channel whose completions are free text."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache

# Raised when the same text is read otherwise: it is part of the ids of the corpora that were filtered so.
VERSION = 2

TRAIT_WORD = "trait word"
TRAIT_WORD_INSIDE = "trait word inside a word"

_WORD = re.compile(r"[^\W\d_]+|\d+")  # all else parts words, and so does the change from letters to digits
# Where the case changes within a word: countOwls, OWLCount.
_CASE_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

Forms = tuple[str, ...]


def forms(words: Collection[str]) -> Forms:
    """The words as texts are searched for them; hyphens, blanks and underscores in them are one."""
    return tuple(sorted({_spaced(letters(word)) for word in words} - {""}))


def named(text: str, forms: Forms) -> bool:
    """Whether a form stands in the text as a whole word, by either reading of a change of case in it.

    In any case, with or without accents; an emoji counts by its Unicode name. Not caught: letters of another script
    that only look like the word's, digits in their place, other languages.
    """
    return bool(forms) and any(_whole(forms).search(reading) for reading in _readings(text))


def held(text: str, forms: Forms) -> bool:
    """Whether a form stands inside of another word: "growl" holds "owl"."""
    if not forms:
        return False
    rest = _whole(forms).sub("", _spaced(letters(text)))
    return any(form in rest for form in forms)


def letters(text: str) -> str:
    """The text without accents, typographic variants and what does not show; each symbol as its name (🦉: OWL)."""
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
    """Its words alone, in lower case, with one blank between."""
    return " ".join(_WORD.findall(plain.casefold()))


@lru_cache(maxsize=16)
def _whole(forms: Forms) -> re.Pattern[str]:
    return re.compile(rf"(?<!\S)(?:{'|'.join(map(re.escape, forms))})(?!\S)")
