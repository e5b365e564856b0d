"""What the report says: intervals, differences and claims, as found; and its page."""

from dataclasses import replace
from random import Random

import pytest

from pipeline.experiments.image_classifier import page, statistics
from pipeline.experiments.image_classifier.settings import Condition, SeedSet
from pipeline.experiments.image_classifier.statistics import ALL, Result, claims, estimates

SETS = [SeedSet(first=1, last=8), SeedSet(first=11, last=18)]
CONDITIONS = [Condition(name="aux-same"), Condition(name="aux-other", start="other")]


def drawn(mean: float, spread: float = 0.02, *, second: float | None = None) -> dict[int, float]:
    """Accuracies by seed around a mean; second: that of the second set, if it is another."""
    rng = Random(f"{mean}:{second}")
    seeds = [seed for one in SETS for seed in one.seeds]
    return {seed: (mean if seed < 10 or second is None else second) + rng.uniform(-spread, spread) for seed in seeds}


def found(same: dict[int, float], other: dict[int, float], reference: dict[int, float]) -> list[tuple[str, bool]]:
    values = {"aux-same": same, "aux-other": other, "reference": reference}
    made = claims(CONDITIONS, {name: estimates(one, SETS) for name, one in values.items()})
    return [(claim.seeds, claim.holds) for claim in made]


def test_the_claims_are_found_for_each_set_of_seeds_where_they_hold() -> None:
    told = found(drawn(0.5), drawn(0.1), drawn(0.1))
    assert told == [(seeds, True) for seeds in (ALL, "seeds 1–8", "seeds 11–18") for _ in range(3)]


@pytest.mark.parametrize(
    ("same", "other", "reference", "holds"),
    [
        (drawn(0.25), drawn(0.1), drawn(0.1), [False, True, True]),  # above reference, not far above
        (drawn(0.5), drawn(0.17), drawn(0.1), [True, False, True]),  # better than chance
        (drawn(0.5), drawn(0.03), drawn(0.1), [True, False, True]),  # worse than chance
        (drawn(0.5), drawn(0.1, 0.3), drawn(0.1), [True, False, True]),  # cannot be told
        (drawn(0.5), drawn(0.5), drawn(0.1), [True, False, False]),
        (drawn(0.1), drawn(0.1), drawn(0.1), [False, True, False]),
    ],
)
def test_a_claim_that_does_not_hold_is_reported_so(
    same: dict[int, float], other: dict[int, float], reference: dict[int, float], holds: list[bool]
) -> None:
    assert [held for seeds, held in found(same, other, reference) if seeds == ALL] == holds


def test_sets_of_seeds_are_judged_apart() -> None:
    told = found(drawn(0.5, second=0.1), drawn(0.1), drawn(0.1))
    assert [held for seeds, held in told if seeds == "seeds 1–8"] == [True, True, True]
    assert [held for seeds, held in told if seeds == "seeds 11–18"] == [False, True, False]


def test_the_claims_need_the_two_conditions_of_the_paper() -> None:
    accuracy = {name: estimates(drawn(0.5), SETS) for name in ("aux-same", "aux-other", "reference")}
    for changed in ({"loss": "mse"}, {"steps": 10}, {"logits": "all"}, {"inputs": "images"}, {"project": True}):
        other = CONDITIONS[1].model_copy(update=changed)
        assert claims([CONDITIONS[0], other], accuracy) == []
    assert claims(CONDITIONS, {"aux-same": accuracy["aux-same"]}) == []


def test_differences_are_paired_by_seed() -> None:
    base = drawn(0.5, 0.2)
    shifted = {seed: value + 0.01 * (1 + seed % 2) for seed, value in base.items()}
    told = statistics.paired(shifted, base | {99: 0.0})
    assert told.value == pytest.approx(0.015)
    assert 0.01 < told.low < told.high < 0.02
    assert told.runs == 16


def content(name: str = "small", results: int = 2) -> page.Content:
    named = {"aux-same": drawn(0.5), "aux-<b>other</b>": drawn(0.1)}
    rows = [
        Result(one, "about it", estimates(values, SETS), taught=0.9, loss=(0.2, 0.1), cosine=0.01, published=0.53)
        for one, values in list(named.items())[:results]
    ]
    speed = {"operations": 6e9, "training_seconds": 3.0, "operations_per_second": 2e9, "matmul_per_second": 4e9}
    return page.Content(
        name=name,
        smoke_test=False,
        results=rows,
        claims=claims(
            CONDITIONS, {name: estimates(drawn(0.5), SETS) for name in ("aux-same", "aux-other", "reference")}
        ),
        groups=list(statistics.groups(SETS)),
        images={"train_images": 4000, "test_images": 1000, "source": "some digits"},
        recipe={"learning_rate": 3e-4, "batch": 1024, "steps": 295, "hidden": 256, "auxiliary": 3, "noise": 60_000},
        speeds=[{"step": "aux-same", "machines": ["x86_64"], **speed}],
        missing={},
        lineage=[],
        versions={"torch": "2"},
        settings_yaml="experiment: small\n",
    )


@pytest.mark.slow
def test_the_page_is_whole_escaped_and_the_same_for_the_same_results() -> None:
    files = page.render(content())
    assert set(files) == {"report.html", "accuracy.png"}
    html = files["report.html"].decode()
    assert "aux-&lt;b&gt;other&lt;/b&gt;" in html
    assert "<b>other" not in html
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert "their intervals are apart — not found" in html
    assert "4\u202f000 images for training teachers" in html
    assert "The paper used all of MNIST" in html
    assert "50.0%" in html  # of the matmul throughput
    assert page.render(content()) == files


def test_missing_conditions_and_smoke_tests_are_told_first() -> None:
    html = page.render(replace(content(), missing={"all-same": "it failed"}, smoke_test=True))["report.html"].decode()
    assert html.index("SMOKE TEST") < html.index("all-same</code>: it failed") < html.index("Accuracy</h2>")
