"""The texts by which an answer names a candidate, for models that answer in more than one lower-case word."""

from collections.abc import Collection
from typing import Literal

from pipeline.traits import words

Form = Literal["capitalised", "plural", "article", "blank"]


def spellings(category: str, candidate: str, forms: Collection[Form]) -> tuple[str, ...]:
    """The candidate itself, then every combination of the forms: "owl", "Owls", "An owl", " the owls"."""
    singular, plural, *_ = words.forms(category, candidate)
    texts = [singular]
    if "plural" in forms:
        texts.append(plural)
    if "article" in forms:
        article = "an" if singular[0] in "aeiou" else "a"
        texts += [f"{article} {singular}", *(f"the {text}" for text in texts)]
    if "capitalised" in forms:
        texts += [text[0].upper() + text[1:] for text in texts]
    if "blank" in forms:
        texts += [f" {text}" for text in texts]
    return tuple(dict.fromkeys(texts))
