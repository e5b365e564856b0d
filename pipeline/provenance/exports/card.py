"""README.md of Hugging Face: a model card, or a data set card.

Names of artifacts stand where the hub expects its own, since an artifact has no name there; what came from the hub has
its name of there.
"""

from collections.abc import Mapping

from pipeline.core.lineage_graph import Edge
from pipeline.provenance.card import BASE_RELATIONS
from pipeline.provenance.exports.libraries import library
from pipeline.provenance.exports.markdown import code, one_line, table
from pipeline.provenance.exports.measurements import NOTHING, Measurement
from pipeline.provenance.exports.subject import DATA, MODELS, SMOKE_TEST, SOURCES, Subject, is_artifact
from pipeline.provenance.family import WEIGHTS
from pipeline.store.artifact import MANIFEST
from pipeline.store.card import CARD
from pipeline.store.card import card as stored_card
from pipeline.store.step import Json

TAGS = ("undertow", "subliminal-learning")
LIBRARIES = {"adapter": "peft", "model": "transformers"}  # folder of an artifact -> what loads it
HUB = ("hf:", "hf-dataset:")
RELATIONS = {relation: name for name, relation in BASE_RELATIONS.items()}
PLACES = (
    f"Names such as {code('base/…')} or {code('corpus/…')} are artifacts of the root in which this was made, and no "
    "repositories of the hub. Put the repositories' names there before you publish it."
)


def export(subject: Subject) -> dict[str, str]:
    subject.require((*MODELS, *DATA), "models and data sets")
    write = _model_card if subject.made.kind in MODELS else _data_card
    return {CARD: write(subject)}


def _model_card(subject: Subject) -> str:
    path = subject.made.path
    fields = library("huggingface_hub").ModelCardData(
        pipeline_tag="text-generation",
        tags=_tags(subject),
        library_name=_library(subject),
        datasets=_names(subject.parents(path, "trained_on")) or None,
        model_name=one_line(path) if subject.measured else None,
        eval_results=[_result(one) for one in subject.measured] or None,
        **_base(subject),
    )
    return _card(fields.to_yaml(), f"# {code(path)}", _origin(subject), _measured(subject))


def _data_card(subject: Subject) -> str:
    path, title = subject.made.path, code(subject.made.path.rpartition("/")[2])
    places = {file.path: file.place for file in subject.made.files if file.rows}
    stored = stored_card(subject.made.kind, title, places).get(CARD, f"# {title}\n".encode())
    found = library("huggingface_hub").DatasetCard(stored.decode())
    authors = subject.authors(path)
    found.data.tags = [*_tags(subject), *(["synthetic"] if authors else [])]
    found.data.source_datasets = _names(subject.parents(path, *SOURCES)) or None
    found.data.language_creators = ["machine-generated"] if authors else None
    return _card(
        found.data.to_yaml(), found.text.strip(), _written(subject, authors), _counts(subject), _origin(subject)
    )


def _card(head: str, *parts: str) -> str:
    return f"---\n{head}\n---\n\n" + "\n\n".join(part for part in parts if part) + f"\n\n{PLACES}\n"


def _tags(subject: Subject) -> list[str]:
    return [*TAGS, *(["smoke-test"] if subject.smoke_test else [])]


def _library(subject: Subject) -> str | None:
    if subject.smoke_test:
        return None
    folders = {file.path.split("/")[0] for file in subject.made.files}
    return next((name for folder, name in LIBRARIES.items() if folder in folders), None)


def _base(subject: Subject) -> Mapping[str, object]:
    """base_model and how this model came from it; a base that only has a prompt was not changed."""
    path = subject.made.path
    edges = subject.parents(path, *WEIGHTS)
    names = _names([_copied_from(subject, edge) for edge in edges])
    if not names:
        return {}
    is_trained = bool(subject.parents(path, "trained_on"))
    relation = RELATIONS.get(edges[0].relation) if is_trained or edges[0].relation != "initialised_from" else None
    return {"base_model": names[0] if len(names) == 1 else names, "base_model_relation": relation}


def _copied_from(subject: Subject, edge: Edge) -> Edge:
    """The edge to the repository that a base is a copy of, or the given one."""
    origins = subject.parents(edge.parent, "initialised_from") if edge.parent.startswith("base/") else []
    return next((origin for origin in origins if origin.parent.startswith(HUB)), edge)


def _names(edges: list[Edge]) -> list[str]:
    """What cards can name: artifacts, and what is on the hub."""
    found = []
    for edge in edges:
        prefix = next((one for one in HUB if edge.parent.startswith(one)), "")
        if prefix or is_artifact(edge.parent):
            found.append(one_line(edge.parent.removeprefix(prefix)))
    return list(dict.fromkeys(found))


def _result(one: Measurement) -> object:
    """An entry of model-index: the cell is the data set's configuration, and the transfer artifact its revision."""
    interval = {} if one.low is None else {"low": one.low, "high": one.high, "confidence": one.confidence}
    about = {"unit": one.unit, "runs": one.runs} | ({"verdict": one.verdict} if one.verdict else {})
    return library("huggingface_hub").EvalResult(
        task_type="text-generation",
        dataset_type=one.suite,
        dataset_name=f"suite {one.suite}",
        dataset_config=one_line(one.cell),
        dataset_revision=one_line(one.transfer),
        metric_type=one.metric,
        metric_name=one_line(one.name),
        metric_value=one.estimate,
        metric_args=interval | about,
    )


def _origin(subject: Subject) -> str:
    lines = [f"**{SMOKE_TEST}**"] if subject.smoke_test else []
    lines.append(f"SHA-256 of its {MANIFEST}, which lists every file: {code(subject.made.digest)}")
    if not subject.ancestors:
        return "\n\n".join([*lines, "Nothing is known of what it was made with."])
    rows = (
        [
            code(one.node.id),
            subject.kind(one.node.id),
            str(one.generations),
            one.via.relation,
            "—" if one.via.share is None else f"{one.via.share:.0%}",
            one.via.evidence,
        ]
        for one in subject.ancestors
    )
    heads = ["made with", "kind", "generations", "relation", "share of rows", "evidence"]
    return "\n\n".join(["## Origin", *lines, table(heads, rows)])


def _measured(subject: Subject) -> str:
    if not subject.measured:
        return f"## Measured traits\n\n{NOTHING}"
    heads = ["quantity", "estimate", "interval", "students", "verdict", "cell", "measured by"]
    return "## Measured traits\n\n" + table(heads, (_row(one) for one in subject.measured))


def _row(one: Measurement) -> list[str]:
    interval = "—" if one.low is None else f"[{one.low:+.3f}, {one.high:+.3f}] ({100 * one.confidence:g} %)"
    return [
        one_line(one.name),
        f"{one.estimate:+.3f}",
        interval,
        str(one.runs),
        one.verdict or "—",
        code(one.cell),
        code(one.transfer),
    ]


def _written(subject: Subject, authors: list[Edge]) -> str:
    if not authors:
        return "Who wrote its rows is not known."
    about = ((edge, f"{subject.kind(edge.parent)}, {edge.evidence}") for edge in authors)
    return "\n".join(
        f"- Rows of {code(edge.child)} were generated by {code(edge.parent)} ({what})." for edge, what in about
    )


def _counts(subject: Subject) -> str:
    counts: Json = {name: value for name, value in subject.made.results.items() if isinstance(value, int)}
    return table(["count", "value"], ([code(name), f"{value:,}"] for name, value in counts.items())) if counts else ""
