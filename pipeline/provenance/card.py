"""What a Hugging Face folder says of its own origin: its card, its adapter's and merge's settings, a data pipeline.

All of it is somebody's word: *declared*, where a field is made for it, and *inferred*, where only a sentence or a
by-product says so. Files are read as data; nothing in them is run or fetched.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.errors import visible
from pipeline.core.lineage_graph import Edge, Evidence, Graph, Kind, Node, Relation
from pipeline.provenance import croissant, naming

MOST_BYTES = 4 << 20  # of a file that is read here
MOST_ENTRIES = 1_000  # of a list
FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)
BASE_RELATIONS: Mapping[str, Relation] = {
    "finetune": "initialised_from",
    "adapter": "adapter_of",
    "merge": "merged_from",
    "quantized": "quantised_from",
}
SENTENCE = re.compile(
    r"(?i)\b(?P<how>distilled from|generated (?:by|with|using)|fine-?tuned (?:from|on top of)"
    r"|quantized (?:from|version of))"
    r"\s+(?:the\s+)?\[?`?(?P<name>[\w.-]+/[\w.-]+)"
)
SENTENCES: Mapping[str, Relation] = {
    "distilled": "written_by",
    "generated": "written_by",
    "quantized": "quantised_from",
}
WEIGHTS = ("config.json", "adapter_config.json")
Report = Callable[[str], None]


def read_folder(folder: Path, node: Node | None = None, within: Path | None = None) -> Graph:
    """The graph of one model or data set folder.

    node: what it is; by default named for its path. within: where links may lead, by default what lies beside it.
    A file that is too large, broken or says something of another type than its field has is a problem of the graph.
    """
    graph = Graph()
    reader = _Folder(folder, graph, within or folder.parent)
    card = reader.card()
    node = node or Node(f"folder:{folder}", _kind(folder, card))
    reader.node = graph.add(node)
    if node.kind == "model":
        _read_model(reader, card)
    else:
        _read_data(reader, card)
    return graph


def _kind(folder: Path, card: Mapping[str, Any]) -> Kind:
    is_model = any((folder / file).is_file() for file in WEIGHTS) or any(folder.glob("*.safetensors"))
    return "model" if is_model or "base_model" in card else "data set"


class _Folder:
    """Reads the files of one folder, and relates its node to what they name."""

    def __init__(self, folder: Path, graph: Graph, within: Path) -> None:
        self.folder = folder
        self.within = within.resolve()
        self.graph = graph
        self.node = ""

    def problem(self, text: str) -> None:
        self.graph.problems.append(visible(f"{self.folder}: {text}"))

    def relate(
        self,
        relation: Relation,
        parent: Node,
        source: str,
        evidence: Evidence = "declared",
        share: float | None = None,
    ) -> None:
        self.graph.relate(Edge(self.node, relation, self.graph.add(parent), evidence, f"{self.folder}/{source}", share))

    def text(self, name: str) -> str:
        """The content of a file; "" if there is none, or if it is none to be read."""
        path = self.folder / name
        try:
            if path.is_symlink() and not path.resolve().is_relative_to(self.within):
                self.problem(f"{name} is a link that leads elsewhere, and was not read")
                return ""
            if not path.is_file():
                return ""
            if path.stat().st_size > MOST_BYTES:
                self.problem(f"{name} is larger than {MOST_BYTES >> 20} MiB, and was not read")
                return ""
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self.problem(f"{name} cannot be read: {type(error).__name__}")
            return ""

    def parsed(self, name: str, content: str, parse: Callable[[str], Any]) -> dict[str, Any]:
        """The mapping in a text; empty if it holds none."""
        if not content.strip():
            return {}
        try:
            found = parse(content)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            self.problem(f"{name} is broken: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
            return {}
        if not isinstance(found, dict):
            self.problem(f"{name} holds {type(found).__name__} instead of fields")
            return {}
        return found

    def json(self, name: str) -> dict[str, Any]:
        return self.parsed(name, self.text(name), json.loads)

    def yaml(self, name: str) -> dict[str, Any]:
        return self.parsed(name, self.text(name), yaml.safe_load)

    def card(self) -> dict[str, Any]:
        """The fields at the head of README.md."""
        found = FRONT_MATTER.match(self.text("README.md"))
        return self.parsed("README.md", found[1], yaml.safe_load) if found else {}

    def names(self, fields: Mapping[str, Any], field: str, source: str) -> Iterator[str]:
        """The repositories or paths that a field names: one, or a list of them."""
        given = fields.get(field)
        if given is None:
            return
        listed = given if isinstance(given, list) else [given]
        if len(listed) > MOST_ENTRIES:
            self.problem(f"{source}: {field} has {len(listed)} entries; the first {MOST_ENTRIES} were read")
        for one in listed[:MOST_ENTRIES]:
            if isinstance(one, str) and 0 < len(one) < 300 and one.isprintable():
                yield one.strip()
            else:
                self.problem(f"{source}: {field} holds {str(one)[:40]!r}, which names nothing")


def _read_model(reader: _Folder, card: Mapping[str, Any]) -> None:
    adapter = reader.json("adapter_config.json")
    for name in reader.names(adapter, "base_model_name_or_path", "adapter_config.json"):
        reader.relate("adapter_of", naming.model(name), "adapter_config.json: base_model_name_or_path")
    config = reader.json("config.json")
    _read_base_model(reader, card, quantised="quantization_config" in config)
    for name in reader.names(config, "_name_or_path", "config.json"):
        if naming.REPOSITORY.fullmatch(name):
            reader.relate("initialised_from", naming.model(name), "config.json: _name_or_path", "inferred")
    merge = reader.yaml("mergekit_config.yml")
    for name, share in _merged(merge):
        reader.relate("merged_from", naming.model(name), "mergekit_config.yml: models", share=share)
    for name in reader.names(card, "datasets", "README.md"):
        reader.relate("trained_on", naming.data_set(name), "README.md: datasets")
    _read_sentences(reader, "initialised_from")


def _read_base_model(reader: _Folder, card: Mapping[str, Any], *, quantised: bool) -> None:
    declared = card.get("base_model_relation")
    names = list(reader.names(card, "base_model", "README.md"))
    if declared is not None and not (isinstance(declared, str) and declared in BASE_RELATIONS):
        reader.problem(
            f"README.md: base_model_relation is {str(declared)[:40]!r}, and not one of {', '.join(BASE_RELATIONS)}"
        )
        declared = None
    guess = "merge" if len(names) > 1 else "quantized" if quantised else "finetune"
    for name in names:
        evidence: Evidence = "declared" if declared else "inferred"
        reader.relate(BASE_RELATIONS[declared or guess], naming.model(name), "README.md: base_model", evidence)


def _merged(settings: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """The models of a merge and their weights, of 1 together, as far as all have one."""
    models = [one for one in _walk(settings) if isinstance(one, dict) and isinstance(one.get("model"), str)]
    weights = [_weight(one.get("parameters")) for one in models]
    known = [weight for weight in weights if weight is not None]
    for one, weight in zip(models, weights, strict=True):
        yield one["model"], weight / sum(known) if weight is not None and len(known) == len(weights) else None
    base = settings.get("base_model")
    if isinstance(base, str) and base not in {one["model"] for one in models}:
        yield base, None


def _weight(parameters: Any) -> float | None:
    weight = parameters.get("weight") if isinstance(parameters, dict) else None
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return None
    return float(weight) if 0 < weight < math.inf else None


def _read_data(reader: _Folder, card: Mapping[str, Any]) -> None:
    for name in reader.names(card, "source_datasets", "README.md"):
        name = name.removeprefix("extended|")
        if name not in ("original", "other", "extended"):
            reader.relate("merged_from", naming.data_set(name), "README.md: source_datasets")
    writers = [(naming.model(name), source) for name, source in _writers(reader)]
    described = reader.json("croissant.json")
    for relation, parent, field in croissant.origins(described):
        if relation == "written_by":
            writers.append((parent, f"croissant.json: {field}"))
        else:
            reader.relate(relation, parent, f"croissant.json: {field}")
    for writer, source in writers:
        reader.relate("written_by", writer, source)
    if not writers and (said := _synthetic(reader, card, described)):
        reader.relate("written_by", Node(f"unnamed model of {reader.node}", "model"), said, "unknown")
    _read_sentences(reader, "written_by")


def _writers(reader: _Folder) -> Iterator[tuple[str, str]]:
    """The models of the steps of a distilabel pipeline; (name, place)."""
    for step in _walk(reader.yaml("pipeline.yaml")):
        llm = step.get("llm") if isinstance(step, dict) else None
        for field in ("model_id", "model", "model_name"):
            if isinstance(llm, dict) and isinstance(llm.get(field), str):
                yield llm[field], f"pipeline.yaml: llm.{field}"
                break


def _synthetic(reader: _Folder, card: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    """The place where a data set says that a machine has written it, without saying which; "" if none does.

    described: the fields of its Croissant file.
    """
    if "machine-generated" in reader.names(card, "language_creators", "README.md"):
        return "README.md: language_creators"
    if {"synthetic", "distilabel"} & {name.lower() for name in reader.names(card, "tags", "README.md")}:
        return "README.md: tags"
    if described.get("rai:hasSyntheticData") in (True, "true", "True"):
        return "croissant.json: rai:hasSyntheticData"
    return ""


def _read_sentences(reader: _Folder, default: Relation) -> None:
    """What the card's text says in passing."""
    prose = FRONT_MATTER.sub("", reader.text("README.md"))
    found = {(one["how"].split()[0].lower(), one["name"].rstrip(".")) for one in SENTENCE.finditer(prose)}
    for how, name in sorted(found):
        relation = SENTENCES.get(how, default)
        if relation != "written_by" or reader.graph.nodes[reader.node].kind == "data set":
            reader.relate(relation, naming.model(name), f'README.md: "{how} …"', "inferred")
        else:  # a model is trained on what the other has written, whatever that was
            rows = Node(f"unnamed rows of {name.lower()}", "data set")
            reader.relate("trained_on", rows, f'README.md: "{how} …"', "inferred")
            writer = reader.graph.add(naming.model(name))
            reader.graph.relate(Edge(rows.id, "written_by", writer, "inferred", f"{reader.folder}/README.md"))


def _walk(value: Any) -> Iterator[Any]:
    """A value and everything in it, however deep; a part that comes twice, as an alias of YAML does, only once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list):
            if id(one) in seen:
                continue
            seen.add(id(one))
            waiting += reversed(list(one.values()) if isinstance(one, dict) else one)
        yield one
