"""Verdicts cached by content: no process of the machine asks a judge about the same item twice."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.models.judges import Judge, JudgeInput, Verdict
from pipeline.models.judges.rubrics import Rubric, fill
from pipeline.models.judges.verdict_store import Kept, VerdictStore
from pipeline.models.judges.verdicts import parse

ITEMS_AT_ONCE = 256  # most verdicts that a crash can lose


class CachedScorer:
    """A judge that asks another judge only about items without a cached verdict.

    The key of a verdict is the SHA-256 of the judge's settings, the rubric and the filled prompt. It leaves out seeds:
    equal items share the verdict of the first one asked. Verdicts without a score are not cached.

    who: the settings that can change a verdict. file: see VerdictStore. Raises InputError if it cannot be used.
    """

    def __init__(self, judge: Judge, rubric: Rubric, who: Mapping[str, Any], file: Path) -> None:
        self._judge, self._rubric, self._store = judge, rubric, VerdictStore(file)
        self._identity = json.dumps({"judge": dict(who), "rubric": asdict(rubric)}, sort_keys=True)

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        keys = [self._key(item) for item in items]
        known = self._known(keys)
        new: dict[str, tuple[JudgeInput, int]] = {}
        for key, item, seed in zip(keys, items, seeds, strict=True):
            if key not in known:
                new.setdefault(key, (item, seed))
        waiting = list(new)
        for start in range(0, len(waiting), ITEMS_AT_ONCE):
            some = waiting[start : start + ITEMS_AT_ONCE]
            verdicts = self._judge.judge([new[key][0] for key in some], [new[key][1] for key in some])
            fresh = dict(zip(some, verdicts, strict=True))
            self._store.put(
                {key: (v.reply, v.probability, v.attempts) for key, v in fresh.items() if v.score is not None}
            )
            known |= fresh
        return [known[key] for key in keys]

    def _known(self, keys: Sequence[str]) -> dict[str, Verdict]:
        """The cached verdicts. A stored reply that is not a score is ignored, as only scores are ever stored."""
        kept: dict[str, Kept] = self._store.get(keys)
        scores = {key: parse(reply, self._rubric) for key, (reply, _, _) in kept.items()}
        return {
            key: Verdict(scores[key], probability, reply, attempts)
            for key, (reply, probability, attempts) in kept.items()
            if scores[key] is not None
        }

    def _key(self, item: JudgeInput) -> str:
        prompt = fill(self._rubric, item.prompt, item.completion, item.word)
        return hashlib.sha256(json.dumps([self._identity, prompt]).encode()).hexdigest()
