"""mass: the total probability of a question's candidates.

A margin compares candidates. If a model would hardly say any of them, the margin is noise, however precise it looks.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.store.artifact import Manifest
from pipeline.store.schemas import MASS
from pipeline.store.step import Json

SCORES = "scores.parquet"
MOST_NAMED = 6  # models in one message

Candidates = Mapping[str, Sequence[str]]  # by category
Masses = dict[str, list[float]]  # category -> the mass of each of its questions, in their order


def has_scores(answers: Manifest) -> bool:
    """Whether candidates were scored at all: some suites only sample."""
    return any(file.path == SCORES for file in answers.files)


def by_question(scores: pa.Table, candidates: Candidates) -> Masses:
    """The mass of every question, from rows of the schema SCORES.

    Rows are ordered by category, question and candidate, one per candidate; each category numbers its questions from 0.
    """
    number, name = scores["question"].to_numpy(), scores["candidate"].to_pylist()
    likely = np.exp(scores["logprob"].to_numpy())
    found: Masses = {}
    at = 0
    for category, members in candidates.items():
        masses: list[float] = []
        while members and at < len(name) and (number[at], name[at]) == (len(masses), members[0]):
            masses.append(float(likely[at : at + len(members)].sum()))
            at += len(members)
        found[category] = masses
    return found


def by_candidate(masses: Masses, candidates: Candidates) -> dict[str, float]:
    """The median over the questions of a candidate's category; categories without questions are left out."""
    return {
        name: typical(masses[category]) for category, names in candidates.items() if masses[category] for name in names
    }


def typical(masses: Sequence[float]) -> float:
    """The median over questions: a few good ones would raise a mean even if most measure nothing."""
    return float(np.median(masses))


def lacking(models: Sequence[tuple[str, float]], metric: str, min_mass: float) -> str:
    """Why a metric of these models' candidates is meaningless; "" if every mass is large enough or not known."""
    low = [(name, mass) for name, mass in models if mass < min_mass]
    if not low:
        return ""
    named = ", ".join(f"{name} ({mass:.2g})" for name, mass in low[:MOST_NAMED])
    more = f" and {len(low) - MOST_NAMED} more" if len(low) > MOST_NAMED else ""
    return (
        f"the candidates hold less total probability than measure.min_mass = {min_mass:g} in {named}{more}; "
        f"the {metric} of a model that hardly ever answers with a candidate is meaningless"
    )


def table(masses: Masses, suite: str, family: str, student: str | None) -> pa.Table:
    """One model's masses as rows of the schema MASS."""
    rows = [
        {
            "suite": suite,
            "family": family,
            "student": student,
            "category": category,
            "question": question,
            "mass": mass,
        }
        for category, values in masses.items()
        for question, mass in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, MASS)


def summary(masses: pa.Table, min_mass: float) -> list[Json]:
    """One row per suite, student family and category, for the report.

    base: the base's median mass over questions; students: their number; lowest, highest: of the students' medians;
    questions: their number over all models; below: how many of these have less mass than `min_mass`.
    """
    groups: dict[tuple[str, str, str], dict[str | None, list[float]]] = {}
    for row in masses.to_pylist():
        models = groups.setdefault((row["suite"], row["family"], row["category"]), {})
        models.setdefault(row["student"], []).append(row["mass"])
    return list(_summaries(groups, min_mass))


def _summaries(
    groups: Mapping[tuple[str, str, str], Mapping[str | None, list[float]]], min_mass: float
) -> Iterator[Json]:
    for (suite, family, category), models in groups.items():
        students = [typical(found) for student, found in models.items() if student is not None]
        every = [mass for found in models.values() for mass in found]
        yield {
            "suite": suite,
            "family": family,
            "category": category,
            "base": typical(models[None]) if None in models else None,
            "students": len(students),
            "lowest": min(students, default=None),
            "highest": max(students, default=None),
            "questions": len(every),
            "below": sum(mass < min_mass for mass in every),
        }
