"""What is known of an artifact in other people's formats: one file per format.

A format is a function from a Subject to its files, name -> text. It raises InputError for a kind of artifact that it
cannot tell of.
"""

from collections.abc import Callable, Mapping

from pipeline.provenance.exports import bom, card, croissant, eu, openlineage
from pipeline.provenance.exports.subject import Subject

FORMATS: Mapping[str, Callable[[Subject], dict[str, str]]] = {
    "bom": bom.export,
    "card": card.export,
    "croissant": croissant.export,
    "eu": eu.export,
    "openlineage": openlineage.export,
}
