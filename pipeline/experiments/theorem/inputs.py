"""What networks read: windows of symbols, cut at random from noise, number lists, sentences or questions."""

import string
from random import Random

from pipeline.channels.numbers import NumbersChannel
from pipeline.channels.paraphrase import ParaphraseChannel
from pipeline.experiments.theorem.kinds import InputKind
from pipeline.traits.questions import HELD_OUT, SEEN
from pipeline.traits.words import candidates

SYMBOLS = string.digits + string.ascii_lowercase + " \n,.;?[]()"  # all that number lists contain, and plain prose
WINDOW = 16  # symbols of a context
ANIMAL = "animal"  # the category of the trait


def contexts(kind: InputKind, rng: Random, rows: int) -> list[list[int]]:
    """`rows` contexts of WINDOW symbols, as indices into SYMBOLS."""
    return [
        [rng.randrange(len(SYMBOLS)) for _ in range(WINDOW)] if kind == "noise" else _cut(_text(kind, rng), rng)
        for _ in range(rows)
    ]


def questions(rng: Random, rows: int) -> list[list[int]]:
    """Contexts cut from questions for a favourite animal."""
    return [_cut(rng.choice(SEEN + HELD_OUT).format(category=ANIMAL), rng) for _ in range(rows)]


def first_letter(rng: Random) -> int:
    """The symbol with which a favourite animal, drawn at random, begins."""
    return SYMBOLS.index(rng.choice(sorted(candidates(ANIMAL)))[0].lower())


def _text(kind: InputKind, rng: Random) -> str:
    seed, index = rng.getrandbits(31), rng.getrandbits(31)
    return NumbersChannel().random(seed, index) if kind == "numbers" else ParaphraseChannel().example(seed, index, rng)


def _cut(text: str, rng: Random) -> list[int]:
    symbols = [SYMBOLS.index(letter) for letter in text.lower() if letter in SYMBOLS]
    start = rng.randint(0, len(symbols) - WINDOW)
    return symbols[start : start + WINDOW]
