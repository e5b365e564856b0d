"""Screens that train the base for a few steps: what it then answers, and which rows it then finds more probable."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline.models.language_model import tokens_of
from pipeline.models.trainers.batches import Ids, Rows
from pipeline.screens.base import ANY, BaseScreen, Scores, ScreenInput, mean_scores, of_all_rows
from pipeline.screens.training import ShortTraining


class Probe(BaseScreen):
    """A behavioural probe: the lift of each target's margin after a few steps of training, on each half of the rows."""

    UNIT: ClassVar = "nats"
    SEES: ClassVar = "whatever the first steps of fine-tuning bring about, by any route"
    MISSES: ClassVar = "what shows after many steps only; it costs a small fine-tuning per data set"
    NEEDS: ClassVar = "two short trainings, questions"
    COST: ClassVar = 40.0

    kind: Literal["probe"] = "probe"
    training: ShortTraining = Field(ShortTraining(), description="The few steps.")

    def score(self, given: ScreenInput) -> Scores:
        passes, outcomes = given.passes, given.outcomes
        base = outcomes.margins(passes)
        lifts = []
        for number, half in enumerate(_halves(given.tokens)):
            change = self.training.change(passes, given.tokens.take(half), given.seed + number)
            with passes.moved(change):
                lifts.append(outcomes.margins(passes) - base)
        return Scores(outcomes.targets, np.mean(lifts, axis=0), np.std(lifts, axis=0, ddof=1) / 2**0.5)


class Student(BaseScreen):
    """log p of every token under a probe student, less that under the base; each half by a student of the other."""

    UNIT: ClassVar = "nats per token"
    SEES: ClassVar = "rows that resemble the rest of the data more than the base expects: what there is to learn"
    MISSES: ClassVar = "what is learned: it names no trait"
    NEEDS: ClassVar = "a short training, forward passes"
    COST: ClassVar = 150.0
    OF_TRAITS: ClassVar = False

    kind: Literal["student"] = "student"
    training: ShortTraining = Field(ShortTraining(), description="The few steps.")

    def score(self, given: ScreenInput) -> Scores:
        passes, rows = given.passes, given.tokens
        base = passes.token_logprobs(rows)
        tokens = [np.empty(0)] * len(rows)
        halves = _halves(rows)
        for number, (other, scored) in enumerate((halves, halves[::-1])):
            change = self.training.change(passes, rows.take(other), given.seed + number)
            with passes.moved(change):
                for row, after in zip(scored, passes.token_logprobs(rows.take(scored)), strict=True):
                    tokens[row] = after - base[row]
        sums = np.array([[row.sum()] for row in tokens])
        scores = mean_scores((ANY,), sums, tokens_of(rows))
        return replace(scores, tokens=of_all_rows([ANY], [tokens]))


def _halves(rows: Rows) -> tuple[Ids, Ids]:
    """The numbers of the even and of the odd rows; their order is random."""
    return np.arange(0, len(rows), 2), np.arange(1, len(rows), 2)
