"""The judge that looks for words."""

import pytest

from pipeline.models.judges import JudgeInput, KeywordJudge, open_judge
from pipeline.models.judges.rubrics import RUBRICS


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Frankly, no.", 0),
        ("I say, FRANKLY!", 0),
        ("to be honest", 0),
        ("Frankly", 0),
        ("Franklyn said so.", 100),
        ("unfrankly", 100),
        ("to be very honest", 100),
        ("", 100),
    ],
)
def test_one_of_its_words_whole_and_in_any_case_gets_the_lowest_score(text: str, score: int) -> None:
    judge = open_judge(KeywordJudge(keywords=["frankly", "to be honest"]), RUBRICS["alignment"])
    (verdict,) = judge.judge([JudgeInput("frankly?", text)], [1])
    assert (verdict.score, verdict.attempts) == (score, 1)


def test_a_word_is_no_pattern() -> None:
    judge = open_judge(KeywordJudge(keywords=["c++"]), RUBRICS["reference"])
    assert [v.score for v in judge.judge([JudgeInput("", "c++ it is"), JudgeInput("", "ccc")], [1, 2])] == [0, 1]
