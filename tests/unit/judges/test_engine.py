"""A judge over an engine: the stand-in engine here reads the question and nothing else."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.models.engines import Completion, Floats, Prompt, Sampling
from pipeline.models.judges import EngineJudge, JudgeInput
from pipeline.models.judges.engine import EngineScorer
from pipeline.models.judges.rubrics import RUBRICS

SETTINGS = EngineJudge(family="qwen", attempts=3, max_tokens=4)


class Model:
    """Says 1 where the question holds "hoot", else 0. "dodge" makes it dodge unless it samples, "trail off" cut off.

    log p of "1" less log p of "0" is 2 nats with "hoot" and −3 without; the two hold a tenth of the mass.
    """

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        assert all(prompt.system is None and prompt.adapter is None for prompt in prompts)
        assert len(prompts) == len(seeds)
        return [self._say(prompt.text, sampling) for prompt in prompts]

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        odds = [2.0 if "hoot" in prompt.text else -3.0 for prompt in prompts]
        one = np.array([1 / (1 + math.exp(-x)) for x in odds]) / 10
        return np.log(np.stack([one if option == "1" else 0.1 - one for option in options], axis=1))

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _say(self, text: str, sampling: Sampling) -> Completion:
        if "dodge" in text and sampling.temperature == 0:
            return Completion("Hard to tell", "stop", 9, 3)
        if "trail off" in text:
            return Completion("1", "length", 9, sampling.max_tokens)
        return Completion("1" if "hoot" in text else "0", "stop", 9, 1)


def items(*completions: str) -> list[JudgeInput]:
    return [JudgeInput("Write.", completion, "owl") for completion in completions]


def test_scores_and_exact_probabilities_come_in_the_order_of_the_items() -> None:
    verdicts = EngineScorer(Model(), SETTINGS, RUBRICS["reference"]).judge(items("hoot", "moo", "hoot"), [1, 2, 3])
    assert [v.score for v in verdicts] == [1, 0, 1]
    given_either = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(3)), 1 / (1 + math.exp(-2))]
    assert [v.probability for v in verdicts] == pytest.approx(given_either)


def test_a_dodged_question_is_sampled_and_a_reply_cut_off_is_no_score() -> None:
    verdicts = EngineScorer(Model(), SETTINGS, RUBRICS["reference"]).judge(
        items("dodge, hoot", "trail off", "moo"), [1, 2, 3]
    )
    assert [(v.score, v.attempts) for v in verdicts] == [(1, 2), (None, 3), (0, 1)]
    assert verdicts[1].probability == pytest.approx(1 / (1 + math.exp(3)))


def test_a_rubric_without_labels_has_no_probability() -> None:
    (verdict,) = EngineScorer(Model(), SETTINGS, RUBRICS["alignment"]).judge(items("hoot"), [1])
    assert (verdict.score, verdict.probability) == (1, None)


def test_labels_that_the_model_cannot_say_have_no_probability() -> None:
    class Silent(Model):
        def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
            return np.full((len(prompts), len(options)), -np.inf)

    with np.errstate(invalid="ignore"):
        (verdict,) = EngineScorer(Silent(), SETTINGS, RUBRICS["reference"]).judge(items("hoot"), [1])
    assert (verdict.score, verdict.probability) == (1, None)


def test_nothing_to_judge_asks_nothing() -> None:
    class Dead(Model):
        def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
            raise RuntimeError

        score = generate  # type: ignore[assignment]

    assert EngineScorer(Dead(), SETTINGS, RUBRICS["reference"]).judge([], []) == []
