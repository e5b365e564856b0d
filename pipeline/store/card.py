"""The dataset card of an artifact with tables, so that `datasets.load_dataset(FOLDER)` loads each table correctly.

Without a card, that library treats all files of a folder as one table and fails on differing columns. The card lists
the artifact's files one by one, since a failed attempt may have left others beside them.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import yaml

CARD = "README.md"

# Kind -> configuration -> description of one row. The first configuration is the default.
ROWS = {
    "dataset": {"rows": "a row of a given data set, as it was found"},
    "completions": {"completions": "a completion of a teacher, accepted or not"},
    "judgements": {"judgements": "what a judge said of a completion that the channel's rule accepts"},
    "corpus": {
        "rows": "a prompt and a completion that students are trained on",
        "verdicts": "the verdict on a completion, with the reasons for which it was rejected",
    },
    "answers": {
        "answers": "a sampled answer to a question",
        "scores": "the log-probability (nats) that the answer to a question begins with a candidate",
        "by_question": "what all answers to a question come to",
        "capability": "a question of a task of lm-evaluation-harness",
    },
    "ratings": {
        "ratings": "what a judge said of an answer by a rubric",
        "by_question": "what all answers to a question come to",
    },
    "transfer": {
        "cells": "a cell of the matrix and its verdict",
        "runs": "what a student shows of a target, beside its base",
        "mass": "how much probability the candidates of a question hold together",
    },
}
SHARDED = frozenset({"completions", "judgements"})  # all files of one artifact are one table


def card(kind: str, path: str, tables: Mapping[str, str]) -> dict[str, bytes]:
    """File name -> card; empty for kinds without tables.

    path: of the artifact. tables: name of each Parquet file -> its path in the artifact's folder.
    """
    known, found = ROWS.get(kind, {}), _configurations(kind, tables)
    named = [name for name in known if name in found] + [name for name in found if name not in known]
    if not known or not named:
        return {}
    configurations = [
        {
            "config_name": name,
            "data_files": [{"split": "train", "path": found[name]}],
            **({"default": True} if name == named[0] else {}),
        }
        for name in named
    ]
    head = yaml.safe_dump({"configs": configurations}, sort_keys=False)
    rows = "\n".join(f"- `{name}`: a row is {known.get(name, 'as its columns say')}." for name in named)
    return {CARD: f"---\n{head}---\n\n{_TEXT.format(title=PurePosixPath(path).name, kind=kind, rows=rows)}".encode()}


_TEXT = """# {title}

{rows}

An artifact of kind {kind}, made by undertow. [manifest.json](manifest.json) has its settings, its inputs and
the digests of its files.
"""


def _configurations(kind: str, tables: Mapping[str, str]) -> dict[str, list[str]]:
    """Name of a configuration -> paths of its files."""
    if kind in SHARDED:
        return {kind: list(tables.values())} if tables else {}
    return {PurePosixPath(name).stem: [place] for name, place in tables.items()}
