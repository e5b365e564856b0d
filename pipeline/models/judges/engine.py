"""A judge that is a model in an engine: its replies, and the exact probability of a rubric's labels."""

import math
from collections.abc import Sequence

from scipy.special import expit

from pipeline.models.engines import Engine, Prompt, Sampling
from pipeline.models.judges import EngineJudge, JudgeInput, Verdict
from pipeline.models.judges.attempts import Reply, ask
from pipeline.models.judges.rubrics import Rubric, fill
from pipeline.store.schemas import ENDED

Question = tuple[Prompt, float | None]  # with the probability of the second label


class EngineScorer:
    """The engine may serve other callers at the same time; the caller opens and closes it."""

    def __init__(self, engine: Engine, settings: EngineJudge, rubric: Rubric) -> None:
        self._engine, self._settings, self._rubric = engine, settings, rubric

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        prompts = [Prompt(fill(self._rubric, item.prompt, item.completion, item.word)) for item in items]
        questions = list(zip(prompts, self._probabilities(prompts), strict=True))
        return ask(self._say, questions, seeds, self._settings, self._rubric)

    def _say(self, questions: list[Question], seeds: list[int], temperature: float) -> list[Reply]:
        sampling = Sampling(temperature, self._settings.max_tokens)
        answers = self._engine.generate([prompt for prompt, _ in questions], seeds, sampling)
        return [
            Reply(answer.text, answer.finish_reason in ENDED, probability)
            for answer, (_, probability) in zip(answers, questions, strict=True)
        ]

    def _probabilities(self, prompts: Sequence[Prompt]) -> Sequence[float | None]:
        """p(second label) / (p(first) + p(second)) of each prompt; all None for a rubric without labels."""
        if not prompts or not self._rubric.labels:
            return [None] * len(prompts)
        logprobs = self._engine.score(prompts, self._rubric.labels)  # (N, 2)
        probabilities: list[float] = expit(logprobs[:, 1] - logprobs[:, 0]).tolist()
        return [None if math.isnan(p) else p for p in probabilities]
