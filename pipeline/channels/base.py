"""What every channel has, and may leave as it is here."""

from collections.abc import Collection, Iterator
from random import Random
from typing import ClassVar

import pyarrow as pa

from pipeline.core.recipe import Strict
from pipeline.core.sources import Dataset


class BaseChannel(Strict):
    """A channel makes prompts, and says of what was written to them why it is rejected.

    READS_WORDS  whether its rule looks for the traits' words, which are then part of a corpus's settings
    CHECKED      columns of a file that the rule is put to by `undertow check`
    COLUMNS      columns of its data set, where it may have one
    """

    READS_WORDS: ClassVar[bool] = True
    CHECKED: ClassVar[tuple[str, ...]] = ("completion",)
    COLUMNS: ClassVar[tuple[str, ...]] = ()

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the list that `seed` stands for. given: the rows of its data set."""
        raise NotImplementedError

    def reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected, empty where it is accepted: schemas.COMPLETIONS (N,) -> list<string> (N,).

        words: every lower-case form of the traits' words. given: the rows of its data set.
        """
        raise NotImplementedError

    def example(self, seed: int, index: int, rng: Random) -> str:
        """What an obedient writer answers to that prompt; nano worlds are made of it."""
        raise NotImplementedError

    def texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once: the vocabulary of nano worlds."""
        raise NotImplementedError

    def source(self) -> Dataset | None:
        """The data set that its prompts come from; None where it makes them itself."""
        return None
