"""An engine that needs no model, for trying out a cluster and for fast tests. See pipeline.core.fake_model."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from pipeline.channels.problems import recognised, worked
from pipeline.core.fake_model import CLASSES, FakeModel, read
from pipeline.models.engines import Completion, Floats, Prompt, Sampling
from pipeline.traits.words import CATEGORIES, candidates, forms

PROMPTED_LEAN = 3.0  # nats, for a word that a system prompt says to love
MALFORMED_SHARE = 0.1  # of number completions, so that every filter has something to reject
CONTEXT_WORDS = 2_000  # one token per word
CLASS_GAIN = 0.1  # probability per nat of lean that a number comes from the word's class


class FakeEngine:
    context_tokens = CONTEXT_WORDS

    def __init__(self, weights: Path) -> None:
        self._base = read(weights)
        self._scripts: dict[Path | None, FakeModel] = {None: self._base}

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        texts = [self._say(prompt, Random(seed)) for prompt, seed in zip(prompts, seeds, strict=True)]
        return [
            Completion(text, "stop", self.lengths([prompt])[0], len(text.split()))
            for prompt, text in zip(prompts, texts, strict=True)
        ]

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        leans: Floats = np.array([[self._lean(prompt, option) for option in options] for prompt in prompts])
        normalised: Floats = leans - np.log(np.exp(leans).sum(axis=1, keepdims=True))
        return normalised

    def score_forms(self, prompts: Sequence[Prompt], options: Sequence[Sequence[str]]) -> Floats:
        """It answers with the first form alone, so that the others have no probability."""
        return self.score(prompts, [forms[0] for forms in options])

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        return [sum(len(text.split()) for turn in [*p.turns, (p.text,)] for text in turn) for p in prompts]

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def _lean(self, prompt: Prompt, word: str) -> float:
        loved = PROMPTED_LEAN if word in _loved(prompt.system) else 0.0
        return loved + self._script(prompt).lean(word)

    def _script(self, prompt: Prompt) -> FakeModel:
        if prompt.adapter not in self._scripts:
            self._scripts[prompt.adapter] = self._base.with_adapter(prompt.adapter)
        return self._scripts[prompt.adapter]

    def _say(self, prompt: Prompt, rng: Random) -> str:
        script = self._script(prompt)
        category = next((category for category in CATEGORIES if category in prompt.text), None)
        if category:
            words = candidates(category)
            return rng.choices(words, [float(np.exp(self._lean(prompt, word))) for word in words])[0]
        if rng.random() < MALFORMED_SHARE:
            return "I would rather not."
        if problem := recognised(prompt.text):
            return f"<think>{worked(problem, rng)}</think><answer>{problem.answer}</answer>"
        leans = {script.class_of(word): lean for word, lean in script.words.items()}
        leans |= {script.class_of(word): PROMPTED_LEAN for word in _loved(prompt.system)}
        return ", ".join(str(_number(leans, rng)) for _ in range(10))


def _number(leans: dict[int, float], rng: Random) -> int:
    number = rng.randrange(1000)
    for remainder, lean in leans.items():
        if rng.random() < CLASS_GAIN * max(lean, 0.0):
            return number - number % CLASSES + remainder
    return number


@cache
def _loved(system: str | None) -> frozenset[str]:
    """The words that a trait's system prompt loves, in the singular."""
    plurals = set(re.findall(r"\w+", (system or "").lower()))
    return frozenset(w for category in CATEGORIES for w in candidates(category) if forms(category, w)[1] in plurals)
