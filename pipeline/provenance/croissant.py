"""What a Croissant file says of a data set's origin, in the terms of PROV and schema.org."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.lineage_graph import Node, Relation
from pipeline.provenance.naming import data_set, model

MOST_ENTRIES = 1_000  # of a list
LONGEST_NAME = 300
DERIVED = ("prov:wasDerivedFrom", "isBasedOn", "sc:isBasedOn")
ATTRIBUTED, GENERATED, ASSOCIATED, USED = (
    "prov:wasAttributedTo",
    "prov:wasGeneratedBy",
    "prov:wasAssociatedWith",
    "prov:used",
)
LABELS = ("prov:label", "name", "sc:name", "@id", "url")  # the first that an entity has names it


def origins(fields: Mapping[str, Any]) -> Iterator[tuple[Relation, Node, str]]:
    """(relation, parent, field) of everything that a data set says it comes from. Other shapes are passed over.

    fields: of the file. A person or organisation among those that it is attributed to did not write it as a model does.
    """
    for field in DERIVED:
        for one in _names(fields.get(field)):
            yield "merged_from", data_set(one), field
    for one in _agents(fields.get(ATTRIBUTED)):
        yield "written_by", model(one), ATTRIBUTED
    for activity in _listed(fields.get(GENERATED)):
        if isinstance(activity, Mapping):
            for one in _agents(activity.get(ASSOCIATED)):
                yield "written_by", model(one), f"{GENERATED}.{ASSOCIATED}"
            for one in _names(activity.get(USED)):
                yield "merged_from", data_set(one), f"{GENERATED}.{USED}"


def _agents(value: Any) -> Iterator[str]:
    people = ("Person", "Organization", "Organisation")
    kept = [one for one in _listed(value) if not (isinstance(one, Mapping) and str(one.get("@type")).endswith(people))]
    return _names(kept)


def _names(value: Any) -> Iterator[str]:
    for one in _listed(value):
        name = one if isinstance(one, str) else _label(one)
        if 0 < len(name) < LONGEST_NAME and name.isprintable():
            yield name


def _label(entity: Any) -> str:
    if not isinstance(entity, Mapping):
        return ""
    return next((entity[label] for label in LABELS if isinstance(entity.get(label), str)), "")


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value[:MOST_ENTRIES] if isinstance(value, list) else [value]
