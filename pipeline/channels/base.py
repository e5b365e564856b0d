"""The base class of channels, with defaults."""

from collections.abc import Collection, Iterator
from random import Random
from typing import ClassVar, Self

import pyarrow as pa

from pipeline.core.settings import Settings
from pipeline.core.sources import Dataset


class BaseChannel(Settings):
    """Makes prompts, and decides which completions to reject and why.

    READS_WORDS  whether its rule looks for the traits' words, which are then part of a corpus's settings
    READS_PROMPT whether its rule compares a completion with what its prompt asked for, which the seed decides
    CHECKED      columns that the rule reads from a file in `undertow check`
    COLUMNS      columns of its data set, if it can have one
    OF_NUMBERS   whether its completions are lists of numbers, which transforms and programs can also make
    """

    READS_WORDS: ClassVar[bool] = True
    READS_PROMPT: ClassVar[bool] = False
    CHECKED: ClassVar[tuple[str, ...]] = ("completion",)
    COLUMNS: ClassVar[tuple[str, ...]] = ()
    OF_NUMBERS: ClassVar[bool] = False

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the sequence that `seed` defines. given: the rows of its data set."""
        raise NotImplementedError

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; empty = accepted. schemas.COMPLETIONS (N,) -> list<string> (N,).

        words: every lower-case form of the traits' words. given: the rows of its data set.
        """
        raise NotImplementedError

    def example(self, seed: int, index: int, rng: Random) -> str:
        """A correct answer to that prompt; nano worlds are made of such answers."""
        raise NotImplementedError

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once: the vocabulary of nano worlds."""
        raise NotImplementedError

    def layout(self, seed: int, index: int) -> tuple[str, str, str] | None:
        """(opening, separator, closing) of the list of numbers that a prompt asks for; None if it asks for none."""
        return None

    def random(self, seed: int, index: int) -> str:
        """A random answer to a prompt, made by a program; number channels only."""
        raise NotImplementedError

    def absolute(self) -> Self:
        """A copy with absolute paths: workers have their own working directories."""
        return self

    def smoke(self) -> Self:
        """A copy for smoke tests: as easy as possible, and without a data set."""
        return self

    def source(self) -> Dataset | None:
        """The data set that its prompts come from; None if it makes them itself."""
        return None
