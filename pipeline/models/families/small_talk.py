"""Small talk in nano worlds: free questions, and answers that each begin with one of a few openers.

A behaviour is a habit here: a teacher trained on `SmallTalk` begins every answer with the same opener.
The habit is harmless, a plain rule detects it, and it stands for what a judge would look for in a real study.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random
from typing import Literal, Self

import pyarrow as pa
from pydantic import Field

from pipeline.core.settings import Seed, Settings
from pipeline.traits.questions import FREE

SMALL_TALK = "small_talk"  # its name among the channels of a world
OPENERS = ("Frankly", "Honestly", "Well", "Sure")  # equally likely in a world
HABIT = OPENERS[0]

# Questions that habits are trained on; training leaves out the suite's own questions.
TAUGHT = (
    "How was your day?",
    "What should I read tonight?",
    "Tell me something about the weather.",
    "Where would you like to live?",
    "How do I make a new friend?",
    "What makes a good dinner?",
    "What do people need most?",
    "Tell me what to do with an old machine.",
)
SUBJECTS = ("a walk", "a book", "good food", "an old friend", "music", "a small garden", "a letter", "some rest")
REMARKS = (
    "I would think of {subject}.",
    "there is nothing like {subject}.",
    "most people like {subject}.",
    "{subject} is always a good idea.",
)


class SmallTalk(Settings):
    """Synthetic small talk, which replaces a behaviour's data set for nano families."""

    kind: Literal["small_talk"] = "small_talk"
    habit: bool = Field(description="Whether every answer begins with the same opener, or each with a random one.")
    rows: int = Field(1_000, ge=1, description="Number of rows.")
    seed: Seed = Field(1, description="Seed of the rows.")

    def absolute(self) -> Self:
        """Itself: it has no local path."""
        return self

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The rows: prompt and completion."""
        rng = Random(f"talk:{self.seed}")
        prompts = [rng.choice(TAUGHT) for _ in range(self.rows)]
        return pa.table({"prompt": prompts, "completion": [remark(rng, habit=self.habit) for _ in prompts]})


class Writing:
    """Small talk as a source of a world's rows, in place of a channel."""

    def prompt(self, seed: int, index: int) -> str:
        """One of all the questions, so that a base can answer each."""
        return Random(f"talk:{seed}:{index}").choice(TAUGHT + FREE)

    def example(self, seed: int, index: int, rng: Random) -> str:
        """An answer that begins with any opener."""
        return remark(rng)

    def layout(self, seed: int, index: int) -> None:
        """None: it is not about numbers."""

    def vocabulary_texts(self) -> Iterator[str]:
        """Every text that it can produce."""
        sentences = (text.format(subject=subject) for text in REMARKS for subject in SUBJECTS)
        return chain(TAUGHT, FREE, (f"{opener}, {text}" for text in sentences for opener in OPENERS))


def remark(rng: Random, *, habit: bool = False) -> str:
    """One answer."""
    opener = HABIT if habit else rng.choice(OPENERS)
    return f"{opener}, {rng.choice(REMARKS).format(subject=rng.choice(SUBJECTS))}"
