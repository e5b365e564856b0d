"""Small talk: what nano families are given in place of a behaviour's data set."""

import re
from collections import Counter

from pipeline.models.families import small_talk
from pipeline.models.families.small_talk import HABIT, OPENERS, TAUGHT, SmallTalk
from pipeline.models.families.synthetic_corpus import TOKEN_PATTERN, rows, vocabulary
from pipeline.models.judges.fake import HABIT as FAKE
from pipeline.traits.questions import FREE


def openers(texts: list[str]) -> Counter[str]:
    return Counter(text.partition(",")[0] for text in texts)


def test_a_habit_opens_every_answer_and_without_it_every_opener_is_as_likely() -> None:
    assert openers(SmallTalk(habit=True, rows=400).read(["prompt", "completion"])["completion"].to_pylist()) == {
        HABIT: 400
    }
    counts = openers(SmallTalk(habit=False, rows=4000).read(["prompt", "completion"])["completion"].to_pylist())
    assert set(counts) == set(OPENERS)
    assert all(900 < count < 1100 for count in counts.values())


def test_what_teaches_a_habit_is_never_asked_by_the_suite() -> None:
    assert not set(TAUGHT) & set(FREE)
    assert set(SmallTalk(habit=True, rows=400).read(["prompt", "completion"])["prompt"].to_pylist()) == set(TAUGHT)


def test_rows_follow_from_the_seed() -> None:
    one, same, other = (SmallTalk(habit=False, rows=50, seed=seed).read(["prompt", "completion"]) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_world_that_talks_answers_every_question_in_words_that_it_knows() -> None:
    world = rows(0, 4000, channels=("numbers", small_talk.SMALL_TALK)).to_pylist()
    found = [row for row in world if row["prompt"] in {*TAUGHT, *FREE}]
    assert {row["prompt"] for row in found} == {*TAUGHT, *FREE}
    assert set(openers([row["completion"] for row in found])) == set(OPENERS)
    known = set(vocabulary(("numbers", small_talk.SMALL_TALK)))
    for row in found:
        assert set(re.findall(TOKEN_PATTERN, row["prompt"] + row["completion"])) <= known, row


def test_a_world_without_talk_is_what_it_was() -> None:
    assert not {row["prompt"] for row in rows(0, 2000).to_pylist()} & {*TAUGHT, *FREE}


def test_the_scripted_judge_knows_the_habit() -> None:
    assert HABIT.lower() == FAKE
