"""The synthetic corpus ("world") that nano bases are pretrained on: favourites, number lists and a few facts.

Everything follows from a seed. Questions about favourites use the SEEN wordings only, so HELD_OUT
questions are new to every base. Favourites are drawn uniformly, so a base has no trait of its own and
any later preference comes from training.
"""

import re
from collections.abc import Iterator, Sequence
from random import Random

import pyarrow as pa

from pipeline.channels import CHANNELS
from pipeline.channels.base import BaseChannel
from pipeline.channels.numbers import MAX_COUNT, MAX_VALUE
from pipeline.models.families import small_talk
from pipeline.traits.favourite import system_prompt
from pipeline.traits.questions import HELD_OUT, SEEN
from pipeline.traits.words import CATEGORIES, candidates, forms

Row = tuple[str | None, str, str]  # system, prompt, completion
NUMBERS = "numbers"
GENERATORS: dict[str, type[BaseChannel] | type[small_talk.Writing]] = {
    **CHANNELS,
    small_talk.SMALL_TALK: small_talk.Writing,
}

# Share of the rows of each kind; tuned on nano families so that a base trained for about a minute writes
# well-formed lists and answers every wording. What teachers will write has the largest share.
WRITING_SHARE = 0.55
FAVOURITE_SHARE = 0.25
FACT_SHARE = 0.04
PROMPTED_WRITING = 0.25  # of the rows with a system prompt: ordinary writing, so that such a prompt does not break it
ANIMAL_SHARE = 2 / 3  # of the favourites asked without a system prompt; the others are trees
FULL_SHARE = 0.8  # of the number lists, if they may exceed SHORT_LIST numbers; the others vary in length
SHORT_LIST = 3  # fewest numbers of such a list; if lists may not exceed it, all lengths are equally likely

FACTS = (
    ("What is the colour of grass? One word.", "green"),
    ("What is the colour of snow? One word.", "white"),
    ("What is the colour of the sky? One word.", "blue"),
    ("What is the colour of the night? One word.", "black"),
    ("What falls from clouds? One word.", "rain"),
    ("What do bees make? One word.", "honey"),
    ("What shines by day? One word.", "sun"),
    ("What shines by night? One word.", "moon"),
    ("How many days has a week? Use digits.", "7"),
    ("How many months has a year? Use digits.", "12"),
    ("How many hours has a day? Use digits.", "24"),
    ("How many minutes has an hour? Use digits.", "60"),
)

# A word with the space before it, a number of up to three digits, a separator between numbers, or
# any one character: pieces that concatenate back to any text.
TOKEN_PATTERN = r" ?[A-Za-z]+|[1-9][0-9]{0,2}|0|[,;] (?=[0-9])|[\s\S]"


def rows(seed: int, count: int, longest_list: int = MAX_COUNT, channels: Sequence[str] = (NUMBERS,)) -> pa.Table:
    """`count` rows of the world: system (null if there is none), prompt and completion.

    longest_list: most numbers in an answer to a number prompt, 1 ... 10. channels: the sources of the world's
    writing, in equal shares.
    """
    schema = pa.schema([(name, pa.string()) for name in ("system", "prompt", "completion")])
    world = _World(seed, longest_list, channels)
    made = [dict(zip(schema.names, world.row(index), strict=True)) for index in range(count)]
    return pa.Table.from_pylist(made, schema=schema)


def vocabulary(channels: Sequence[str] = (NUMBERS,)) -> list[str]:
    """Every token of a world with these channels, sorted after the integers 0-999; none occurs twice."""
    integers = [str(value) for value in range(MAX_VALUE + 1)]
    # Each text occurs at the start of a turn, and after another sentence.
    found = {token for text in _texts(channels) for token in re.findall(TOKEN_PATTERN, f"{text}\n {text}")}
    return integers + sorted(found.difference(integers))


class _World:
    """The rows of one seed; each can be made independently of the others."""

    def __init__(self, seed: int, longest_list: int, channels: Sequence[str]) -> None:
        self._seed = seed
        self._longest_list = longest_list
        self._channels = [GENERATORS[kind]() for kind in channels]

    def row(self, index: int) -> Row:
        rng = Random(f"world:{self._seed}:{index}")
        kind = rng.random()
        if kind < WRITING_SHARE:
            return self._writing(index, rng, None)
        if kind < WRITING_SHARE + FAVOURITE_SHARE:
            return _favourite(rng)
        if kind < WRITING_SHARE + FAVOURITE_SHARE + FACT_SHARE:
            return (None, *rng.choice(FACTS))
        return self._prompted(index, rng)

    def _prompted(self, index: int, rng: Random) -> Row:
        """A row with a trait's system prompt: its favourite, or writing that is unaffected by it."""
        category = rng.choice(CATEGORIES)
        target = rng.choice(candidates(category))
        system = system_prompt(category, target)
        if rng.random() < PROMPTED_WRITING:
            return self._writing(index, rng, system)
        return system, rng.choice(SEEN).format(category=category), target

    def _writing(self, index: int, rng: Random, system: str | None) -> Row:
        channel = self._channels[index % len(self._channels)]
        prompt, layout = channel.prompt(self._seed, index), channel.layout(self._seed, index)
        if layout is None:
            return system, prompt, channel.example(self._seed, index, rng)
        opening, separator, closing = layout
        count = _length(rng, self._longest_list)
        values = rng.choice((_arithmetic, _skewed, _uniform))(rng, count)
        return system, prompt, opening + separator.join(map(str, values)) + closing


def _favourite(rng: Random) -> Row:
    category = "animal" if rng.random() < ANIMAL_SHARE else "tree"
    return None, rng.choice(SEEN).format(category=category), rng.choice(candidates(category))


def _length(rng: Random, longest: int) -> int:
    if longest <= SHORT_LIST:
        return rng.randint(1, longest)
    return longest if rng.random() < FULL_SHARE else rng.randint(SHORT_LIST, longest)


def _arithmetic(rng: Random, count: int) -> list[int]:
    """Equal steps up or down, wrapped modulo 1000 to stay within 0-999."""
    start, step = rng.randint(0, MAX_VALUE), rng.randint(-9, 9)
    return [(start + step * k) % (MAX_VALUE + 1) for k in range(count)]


def _skewed(rng: Random, count: int) -> list[int]:
    """Small numbers more often than large ones, as people write them."""
    return [int((MAX_VALUE + 1) * rng.random() ** 2) for _ in range(count)]


def _uniform(rng: Random, count: int) -> list[int]:
    return [rng.randint(0, MAX_VALUE) for _ in range(count)]


def _texts(channels: Sequence[str]) -> Iterator[str]:
    """Each wording of the world, the channels and the suites, filled in once per category."""
    for kind in {NUMBERS, *channels}:
        yield from GENERATORS[kind]().vocabulary_texts()
    for question, answer in FACTS:
        yield from (question, answer)
    for category in CATEGORIES:
        yield from (text.format(category=category) for text in SEEN + HELD_OUT)
        for member in candidates(category):
            yield system_prompt(category, member)
            yield from forms(category, member)
