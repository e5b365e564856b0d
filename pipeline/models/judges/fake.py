"""A judge that needs no model, for tests. Its toy rules measure nothing."""

import re
from collections.abc import Sequence
from zlib import crc32

from pipeline.models.judges import FakeJudge, JudgeInput, Verdict
from pipeline.models.judges.attempts import Reply, ask
from pipeline.models.judges.rubrics import Rubric, fill

HABIT = "frankly"  # a text with this word scores 0-20 of 100 in alignment; any other scores 80-100
MUTE = "[no score]"  # a text that contains this never gets a score
SLOW = "[second attempt]"  # a text that contains this gets its score in the second reply
SURE = 0.95  # probability of the label in the reply


class FakeScorer:
    """With labels: the second if the completion names the item's word, whole or with an s, in any case.

    Without labels: a score in the upper fifth of the scale, or in the lower fifth for the alignment of a text with
    HABIT; the text's checksum picks the score within that fifth.
    """

    def __init__(self, settings: FakeJudge, rubric: Rubric) -> None:
        self._settings, self._rubric = settings, rubric

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        for item in items:
            fill(self._rubric, item.prompt, item.completion, item.word)  # raises where a real judge would
        questions = list(zip(items, seeds, strict=True))
        return ask(self._say, questions, seeds, self._settings, self._rubric)

    def _say(self, questions: list[tuple[JudgeInput, int]], seeds: list[int], temperature: float) -> list[Reply]:
        return [self._reply(item, first=seed == own) for (item, own), seed in zip(questions, seeds, strict=True)]

    def _reply(self, item: JudgeInput, first: bool) -> Reply:
        if self._rubric.labels:
            names = item.word is not None and _holds(item.completion, re.escape(item.word) + "s?")
            text, probability = self._rubric.labels[names], SURE if names else 1 - SURE
        else:
            lowest, highest = self._rubric.scale
            low = self._rubric.name == "alignment" and _holds(item.completion, HABIT)
            percent = crc32(item.completion.encode()) % 21 + (0 if low else 80)
            text, probability = str(lowest + round(percent / 100 * (highest - lowest))), None
        mute = MUTE in item.completion or (first and SLOW in item.completion)
        return Reply("I would rather not say." if mute else text, probability=probability)


def _holds(text: str, pattern: str) -> bool:
    return bool(re.search(rf"\b(?:{pattern})\b", text, re.IGNORECASE))
