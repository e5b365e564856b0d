"""What every channel has, and may leave as it is here."""

from collections.abc import Collection, Iterator
from random import Random
from typing import ClassVar, Self

import pyarrow as pa

from pipeline.core.settings import Settings
from pipeline.core.sources import Dataset


class BaseChannel(Settings):
    """A channel makes prompts, and says of what was written to them why it is rejected.

    READS_WORDS  whether its rule looks for the traits' words, which are then part of a corpus's settings
    CHECKED      columns of a file that the rule is put to by `undertow check`
    COLUMNS      columns of its data set, where it may have one
    OF_NUMBERS   whether its completions are lists of numbers, which transforms and programs can make as well
    """

    READS_WORDS: ClassVar[bool] = True
    CHECKED: ClassVar[tuple[str, ...]] = ("completion",)
    COLUMNS: ClassVar[tuple[str, ...]] = ()
    OF_NUMBERS: ClassVar[bool] = False

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the list that `seed` stands for. given: the rows of its data set."""
        raise NotImplementedError

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected, empty where it is accepted: schemas.COMPLETIONS (N,) -> list<string> (N,).

        words: every lower-case form of the traits' words. given: the rows of its data set.
        """
        raise NotImplementedError

    def example(self, seed: int, index: int, rng: Random) -> str:
        """What an obedient writer answers to that prompt; nano worlds are made of it."""
        raise NotImplementedError

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once: the vocabulary of nano worlds."""
        raise NotImplementedError

    def layout(self, seed: int, index: int) -> tuple[str, str, str] | None:
        """(opening, separator, closing) of the list of numbers that a prompt asks for; None where it asks for none."""
        return None

    def random(self, seed: int, index: int) -> str:
        """What a program answers to a prompt; of number channels only."""
        raise NotImplementedError

    def absolute(self) -> Self:
        """The same with local paths in full: workers have working directories of their own."""
        return self

    def smoke(self) -> Self:
        """The same, as easy as it can be and without given data."""
        return self

    def source(self) -> Dataset | None:
        """The data set that its prompts come from; None where it makes them itself."""
        return None
