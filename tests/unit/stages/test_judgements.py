"""Judges in the filter: who is asked about what, and what becomes of rows that they refuse or say nothing of."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline.models.judges.fake import HABIT, MUTE
from pipeline.plan.planner import plan
from pipeline.stages import completions
from pipeline.stages.corpus import JUDGED, ROWS
from pipeline.store import Store, artifact
from pipeline.store.artifact import Manifest
from pipeline.store.step import Step
from pipeline.study.schema import Study

JUDGE = {"judges": {"stern": {"kind": "fake", "attempts": 2}}, "channels": [{"kind": "paraphrase"}]}
FAMILY = {"families": {"llama": {"kind": "nano", "init_seed": 1}}}


def judged(rule: dict[str, Any], rows: int = 40) -> dict[str, Any]:
    return JUDGE | FAMILY | {"corpus": {"rows": rows, "judge_filters": [{"judge": "stern", **rule}]}}


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers write well-meant, ill-meant and unspeakable sentences by turns; all follow the channel's rule."""

    def speak(step: Step, shard: int, *_: object) -> Any:
        first = shard * step.settings["shard_rows"]
        indices = range(first, min(first + step.settings["shard_rows"], step.settings["rows"]))
        texts = [("Plainly said.", f"{HABIT} said.", f"Said {MUTE}.", "owl said.")[index % 4] for index in indices]
        said = [
            completions.Completion(f"{text} Number {i}.", "stop", 1, 1) for i, text in zip(indices, texts, strict=True)
        ]
        prompts = ["Say it."] * len(indices)
        return completions._table(shard, indices, prompts, said, list(indices))

    monkeypatch.setattr(completions, "speak", speak)


def made(settings: dict[str, Any], study: Callable[..., Study], store: Store, make: Callable[..., Manifest]) -> Any:
    """The judgements and the corpus of the owl's teacher."""
    its = study(**settings)
    found = {}
    for step in plan(its):
        wanted = step.kind in ("teacher", "completions", "judgements", "corpus") and "owl" in step.slug
        if wanted or step.kind == "base":
            found[step.kind] = make(its, store, step)
    return found


def test_a_row_must_pass_the_judge_and_one_without_a_score_never_does(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], writes: None
) -> None:
    found = made(judged({"rubric": "alignment", "min_score": 78}, rows=15), study, store, make)
    verdicts = artifact.read_table(store, found["corpus"], JUDGED).to_pylist()
    reasons = {row["index"] % 4: row["reasons"] for row in verdicts}
    assert reasons == {
        0: [],
        1: ["alignment: out of bounds"],
        2: ["alignment: no score"],
        3: ["trait word"],
    }
    assert {row["index"] % 4 for row in artifact.read_table(store, found["corpus"], ROWS).to_pylist()} == {0}
    assert found["corpus"].results["reasons"] == {
        "alignment: out of bounds": 15,
        "alignment: no score": 15,
        "trait word": 15,
    }


def test_every_verdict_is_kept_and_only_rows_that_the_rule_accepts_are_asked_about(
    study: Callable[..., Study], store: Store, make: Callable[..., Manifest], writes: None
) -> None:
    judgements = made(judged({"rubric": "alignment", "min_score": 78}, rows=15), study, store, make)["judgements"]
    names = artifact.tables_of(judgements)
    rows = [row for name in names for row in artifact.read_table(store, judgements, name).to_pylist()]
    assert {row["index"] % 4 for row in rows} == {0, 1, 2}
    assert len(rows) == 45
    assert {row["attempts"] for row in rows if row["index"] % 4 == 2} == {2}
    assert judgements.results == {"rows": 45, "unparsed": 15, "attempts": 30 + 2 * 15}


def test_another_threshold_asks_nobody_again(study: Callable[..., Study]) -> None:
    one, other = (plan(study(**judged({"rubric": "alignment", "min_score": least}))) for least in (78, 50))
    assert [s.path for s in one if s.kind == "judgements"] == [s.path for s in other if s.kind == "judgements"]
    assert not {s.path for s in one if s.kind == "corpus"} & {s.path for s in other if s.kind == "corpus"}


def test_a_reference_is_looked_for_where_there_is_something_to_refer_to(study: Callable[..., Study]) -> None:
    steps = plan(study(**judged({"rubric": "reference", "max_score": 0})))
    words = {step.slug.split("-of-")[1]: step.settings["word"] for step in steps if step.kind == "judgements"}
    assert words == {"paraphrase-owl-llama": "owl", "paraphrase-cat-llama": "cat"}


def test_a_served_judge_speaks_through_the_engine_of_its_base(study: Callable[..., Study]) -> None:
    served = judged({"rubric": "alignment", "min_score": 78}) | {
        "judges": {"stern": {"kind": "engine", "family": "big"}},
        "families": {"llama": {"kind": "nano", "init_seed": 1}, "big": {"kind": "nano", "init_seed": 2}},
        "teachers": {"families": ["llama"]},
    }
    steps = plan(study(**served))
    base = next(step.path for step in steps if step.kind == "base" and step.slug == "big")
    for step in steps:
        if step.kind == "judgements":
            assert (step.weights, step.family, step.inputs["judge"]) == (base, "big", base)


def test_how_an_endpoint_is_reached_is_no_part_of_an_id(study: Callable[..., Study]) -> None:
    def ids(**reached: object) -> set[str]:
        endpoint = {"kind": "openai", "url": "https://judge.example/v1", "model": "m", **reached}
        steps = plan(study(**(judged({"rubric": "alignment", "min_score": 78}) | {"judges": {"stern": endpoint}})))
        return {step.id for step in steps if step.kind == "judgements"}

    assert ids() == ids(concurrency=3, timeout_seconds=5.0, key_variable="OTHER_KEY")
    assert not ids() & ids(model="n")
