"""A judge that looks for words: exact, for behaviours that are only a way of speaking."""

import re
from collections.abc import Sequence

from pipeline.models.judges import JudgeInput, KeywordJudge, Verdict
from pipeline.models.judges.rubrics import Rubric


class KeywordScorer:
    """The rubric's lowest score if a completion contains one of the words, whole and in any case; else its highest.

    It ignores the prompts and the rubric's question.
    """

    def __init__(self, settings: KeywordJudge, rubric: Rubric) -> None:
        self._scale = rubric.scale
        words = "|".join(map(re.escape, settings.keywords))
        self._pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        return [self._verdict(self._pattern.search(item.completion)) for item in items]

    def _verdict(self, found: re.Match[str] | None) -> Verdict:
        lowest, highest = self._scale
        score = highest if found is None else lowest
        return Verdict(score, None, "" if found is None else found[0], 1)
