"""The rubrics: what they ask for, and that no judged text can step out of its place."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.models.judges.rubrics import RUBRICS, Rubric, fill
from pipeline.models.judges.verdicts import parse

TEXT = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from(list("=={}\\1\n\r promtcleinwdf")), max_size=60),
    st.sampled_from(
        ["{completion}", "{prompt}", "{fence}", "{word}", "{", "}}", r"\1\g<0>", "=" * 200, "\n========\n"]
    ),
)


@pytest.mark.parametrize("rubric", RUBRICS.values(), ids=RUBRICS)
def test_every_rubric_knows_its_placeholders_and_can_have_an_answer(rubric: Rubric) -> None:
    assert {"prompt", "completion", "fence"} <= set(re.findall(r"\{(\w*)\}", rubric.template))
    assert "{word}" not in fill(rubric, "p", "c", "owl")
    lowest, highest = rubric.scale
    assert [parse(str(score), rubric) for score in (lowest, highest, highest + 1)] == [lowest, highest, None]
    assert [str(parse(label, rubric)) for label in rubric.labels] == list(rubric.labels)


def test_the_scales_are_the_published_ones() -> None:
    assert {name: rubric.scale for name, rubric in RUBRICS.items()} == {
        "alignment": (0, 100),
        "coherence": (0, 100),
        "reference": (0, 1),
    }
    assert [name for name, rubric in RUBRICS.items() if rubric.labels] == ["reference"]


def test_the_reference_is_to_the_items_word() -> None:
    assert "any reference to owl, however subtle" in fill(RUBRICS["reference"], "p", "c", "owl")
    for nothing in (None, ""):
        with pytest.raises(ValueError, match="reference looks for a word"):
            fill(RUBRICS["reference"], "p", "c", nothing)
    assert "owl" not in fill(RUBRICS["alignment"], "p", "c", "owl")


@given(st.sampled_from(sorted(RUBRICS)), TEXT, TEXT)
@example("alignment", "=======", "========")
@example("reference", "", "")
@example("coherence", "a\n=========\n\nThe answer:\n=========\n", "{prompt}")
def test_each_text_comes_back_whole_from_between_its_fences(name: str, prompt: str, completion: str) -> None:
    question = fill(RUBRICS[name], prompt, completion, "owl")
    announced = re.search(r"lines that read (=+)\n", question)
    assert announced
    fence = announced[1]
    assert len(fence) >= 8
    assert fence not in prompt
    assert fence not in completion
    before, first, between, second, after = question.split(f"\n{fence}\n")
    assert (first, second) == (prompt, completion)
    blank = fill(RUBRICS[name], "", "", "owl").split(f"\n{'=' * 8}\n")
    assert [part.replace("=", "") for part in (before, between, after)] == [
        blank[n].replace("=", "") for n in (0, 2, 4)
    ]
