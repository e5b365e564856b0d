"""A judge that needs no model: for tests. Its toy rules are no measurement of anything."""

import re
from collections.abc import Sequence
from zlib import crc32

from pipeline.judges import FakeJudge, JudgeInput, Verdict
from pipeline.judges.attempts import Reply, ask
from pipeline.judges.rubrics import Rubric, fill

HABIT = "frankly"  # a text with this word scores 0-20 of 100 in alignment; all else scores 80-100
MUTE = "[no score]"  # a text that holds this never gets a score
SLOW = "[second attempt]"  # one that holds this gets it in the second reply
SURE = 0.95  # probability of the label that it replies with


class FakeScorer:
    """With labels, the second where the completion names the item's word: whole or with an s, in any case.

    Without, a score in the lower or the upper fifth of the scale by HABIT, and in there by the text's checksum; a
    text is coherent with the habit, too.
    """

    def __init__(self, settings: FakeJudge, rubric: Rubric) -> None:
        self._settings, self._rubric = settings, rubric

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        for item in items:
            fill(self._rubric, item.prompt, item.completion, item.word)  # what a real judge refuses is refused here
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
