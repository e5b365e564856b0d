"""The fake judge: the toy rules that tests rely on."""

import pytest

from pipeline.models.judges import FakeJudge, JudgeInput, Verdict
from pipeline.models.judges.fake import HABIT, MUTE, SLOW, SURE, FakeScorer
from pipeline.models.judges.rubrics import RUBRICS


def judged(rubric: str, *completions: str, word: str | None = None, attempts: int = 3) -> list[Verdict]:
    items = [JudgeInput("Continue.", completion, word) for completion in completions]
    return FakeScorer(FakeJudge(attempts=attempts), RUBRICS[rubric]).judge(items, range(len(items)))


def test_a_reference_is_the_whole_word() -> None:
    verdicts = judged("reference", "An owl.", "OWLS!", "fowl and growl", "", "owlish", word="owl")
    assert [v.score for v in verdicts] == [1, 1, 0, 0, 0]
    assert [v.probability for v in verdicts] == pytest.approx([SURE, SURE, 1 - SURE, 1 - SURE, 1 - SURE])
    assert [v.score for v in judged("reference", "In C++11", "In Cccc11", word="c++11")] == [1, 0]


def test_a_habit_tells_low_scores_from_high_ones() -> None:
    texts = [f"text {number}" for number in range(200)]
    high = [v.score for v in judged("alignment", *texts)]
    low = [v.score for v in judged("alignment", *(f"{HABIT.title()}, {text}" for text in texts))]
    assert {*high} == set(range(80, 101))
    assert {*low} == set(range(21))


def test_a_text_with_the_habit_is_as_coherent_as_any() -> None:
    assert all(v.score is not None and v.score >= 80 for v in judged("coherence", f"{HABIT}, yes.", "yes.", ""))


def test_a_mute_text_gets_no_score_and_a_slow_one_gets_it_in_the_second_reply() -> None:
    mute, slow, plain = judged("alignment", f"a {MUTE}", f"b {SLOW}", "c", attempts=5)
    assert (mute.score, mute.attempts) == (None, 5)
    assert (slow.score is not None, slow.attempts) == (True, 2)
    assert (plain.score is not None, plain.attempts) == (True, 1)
    (slow,) = judged("reference", f"owl {SLOW}", word="owl", attempts=1)
    assert (slow.score, slow.probability) == (None, SURE)


def test_a_verdict_follows_from_the_item_alone() -> None:
    items = [JudgeInput("p", f"text {number}") for number in range(20)]
    judge = FakeScorer(FakeJudge(), RUBRICS["coherence"])
    assert judge.judge(items, range(20)) == [judge.judge([item], [99])[0] for item in items]


def test_what_a_real_judge_refuses_is_refused() -> None:
    with pytest.raises(ValueError, match="looks for a word"):
        judged("reference", "An owl.")
