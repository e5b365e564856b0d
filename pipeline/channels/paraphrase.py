"""The paraphrase channel: say a neutral sentence in other words.

Sentences come from a data set or from a small grammar of our own. Its synonyms neither name a favourite
nor contain one, so that examples are accepted for every trait.
"""

import re
import unicodedata
from collections.abc import Collection, Iterator
from random import Random
from typing import ClassVar, Literal, Self

import pyarrow as pa
from pydantic import Field

from pipeline.channels import mentions
from pipeline.channels.base import BaseChannel
from pipeline.channels.mentions import TRAIT_WORD, TRAIT_WORD_INSIDE
from pipeline.core.errors import InputError
from pipeline.core.sources import Dataset

REQUESTS = (
    "Say this in other words: {sentence}",
    "Rewrite this sentence in your own words: {sentence}",
    "Put the following differently: {sentence}",
    "How else could one say this? {sentence}",
    "Here is a sentence: {sentence} Say the same in another way.",
    "Reword this sentence: {sentence}",
    "{sentence} Express that in new words.",
    "Give a sentence that means the same: {sentence}",
)
ENDINGS = (
    "Reply with the sentence alone.",
    "Only the new sentence, please.",
    "Write one sentence and nothing else.",
    "Answer with a single line.",
    "No comment, just the sentence.",
    "Say nothing else.",
)

# Every verb's past tense is also its participle, so that one form fits all orders.
ORDERS = (
    "the {subject} {verb} the {quality} {thing} {near} the {place} {time}.",
    "{time}, the {subject} {verb} the {quality} {thing} {near} the {place}.",
    "{near} the {place}, the {subject} {verb} the {quality} {thing} {time}.",
    "it was the {subject} who {verb} the {quality} {thing} {near} the {place} {time}.",
    "the {quality} {thing} was {verb} by the {subject} {near} the {place} {time}.",
    "{time}, the {quality} {thing} was {verb} by the {subject} {near} the {place}.",
)

# Slot of an order: its synonym sets. A meaning is one set per slot (8^6 meanings), a wording one word per set.
SYNONYMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "subject": (
        ("teacher", "tutor", "instructor"),
        ("doctor", "physician", "medic"),
        ("child", "youngster", "kid"),
        ("traveller", "tourist", "visitor"),
        ("boss", "manager", "director"),
        ("writer", "author", "novelist"),
        ("student", "pupil", "learner"),
        ("helper", "assistant", "aide"),
    ),
    "verb": (
        ("found", "discovered", "spotted"),
        ("bought", "purchased", "acquired"),
        ("cleaned", "washed", "scrubbed"),
        ("fixed", "repaired", "mended"),
        ("lost", "misplaced", "mislaid"),
        ("moved", "shifted", "displaced"),
        ("lifted", "raised", "hoisted"),
        ("checked", "examined", "inspected"),
    ),
    "quality": (
        ("small", "little", "tiny"),
        ("big", "large", "huge"),
        ("old", "aged", "ancient"),
        ("heavy", "weighty", "bulky"),
        ("pretty", "lovely", "beautiful"),
        ("strong", "sturdy", "solid"),
        ("cheap", "inexpensive", "affordable"),
        ("plain", "simple", "basic"),
    ),
    "thing": (
        ("bicycle", "bike", "cycle"),
        ("lamp", "light", "lantern"),
        ("chair", "seat", "stool"),
        ("bag", "sack", "pouch"),
        ("box", "crate", "chest"),
        ("picture", "painting", "drawing"),
        ("rug", "carpet", "mat"),
        ("cup", "mug", "beaker"),
    ),
    "near": (("near", "close to", "beside", "next to"),),
    "place": (
        ("shop", "store", "boutique"),
        ("house", "home", "cottage"),
        ("road", "street", "lane"),
        ("river", "stream", "brook"),
        ("harbour", "port", "dock"),
        ("hotel", "inn", "hostel"),
        ("hill", "slope", "rise"),
        ("school", "academy", "college"),
    ),
    "time": (
        ("in the morning", "early in the day", "before noon"),
        ("in the evening", "late in the day", "after sunset"),
        ("at noon", "at midday", "at twelve"),
        ("at night", "after dark", "during the night"),
        ("yesterday", "the day before", "a day ago"),
        ("last week", "a week ago", "seven days ago"),
        ("in summer", "during summer", "in the warm season"),
        ("in winter", "during winter", "in the cold season"),
    ),
}
# What an example adds to a sentence from a data set, because its synonyms are unknown.
TAILS = (", so they say.", ", as people say.", ", it is said.", ", as we know.", ", as it happens.", ", it seems.")

NOT_ONE_LINE = "not one line"
TOO_LONG = "too long"
NOT_REWRITTEN = "not rewritten"
ABOUT_THE_TASK = "talks about the task"

_WORD = re.compile(r"[^\W_]+")  # letters and digits: hyphens, underscores and apostrophes separate words
# Openings of a completion that talks about its task: a list marker, an announcement, a label.
_OPENING = re.compile(
    r"(?:[-+*•·–—>#]+|\(?\d{1,3}[.)]|\(?[a-z]\))\s"
    r"|\W*(?:here(?:\s+is|\s+are|\s+you\s+go|['’]s)|sure|certainly|absolutely|of\s+course|ok(?:ay)?"
    r"|in\s+other\s+words|another\s+way\s+(?:to|of)|as\s+an\s+ai|(?:paraphras|rephras|reword)\w*)\b"
    r"|\W*(?:\w+\s+){0,6}(?:answer|output|reply|response|result|rewrite|rewritten|sentence|version|words)\W*:"
)
_QUOTES = tuple("\"'`*“”„‘’«»")  # also Markdown's marks of code and emphasis


class ParaphraseChannel(BaseChannel):
    """Say a sentence in other words, on one line."""

    READS_PROMPT: ClassVar = True
    CHECKED: ClassVar = ("completion", "sentence")
    COLUMNS: ClassVar = ("sentence",)  # of its data set

    kind: Literal["paraphrase"] = "paraphrase"
    data: Dataset | None = Field(
        None, description="Data set with a column sentence; by default the channel's own sentences."
    )
    samples: int = Field(1, ge=1, description="Completions per sentence.")
    max_words: int = Field(
        40,
        ge=20,
        description="Maximum number of words of an accepted paraphrase; the channel's own sentences have at most 17.",
    )

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the endless sequence of `seed`, or about row `index // samples` of `given`.

        Raises InputError if `given` has too few rows, no column "sentence", or a blank sentence.
        """
        rng = Random(f"paraphrase:{seed}:{index}")
        request = rng.choice(REQUESTS).format(sentence=self._sentence(seed, index, given))
        return f"{request} {rng.choice(ENDINGS)}"

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; an empty list if it is accepted.

        rows: index (int64), completion (string), and sentence (string) if it does not follow from
        seed and index or `given`; N rows. words: lower-case forms of the trait's words.
        Returns list<string> (N,). Raises InputError as `prompt` does.
        """
        if "sentence" in rows.column_names:
            sentences = [sentence or "" for sentence in rows.column("sentence").to_pylist()]
        else:
            sentences = [self._sentence(seed, index, given) for index in rows.column("index").to_pylist()]
        completions = [completion or "" for completion in rows.column("completion").to_pylist()]
        forms = mentions.forms(words)
        pairs = zip(completions, sentences, strict=True)
        return pa.array([self._reasons(*pair, forms) for pair in pairs], pa.list_(pa.string()))

    def example(self, seed: int, index: int, rng: Random, given: pa.Table | None = None) -> str:
        """A correct answer: the channel's own sentence, with words and order drawn with `rng`.

        A sentence from a data set only gets a tail; if too long, it loses its end. Raises InputError as `prompt` does.
        """
        sentence = self._sentence(seed, index, given)
        if given is not None:
            tail = rng.choice(TAILS)
            kept = sentence.split()[: self.max_words - len(tail.split())]
            return " ".join(kept).rstrip(".!?") + tail
        meaning, _ = self._own(seed, index)
        answer = sentence
        while answer == sentence:
            answer = _wording(meaning, rng)
        return answer

    def absolute(self) -> Self:
        return self.model_copy(update={"data": self.data.absolute()}) if self.data else self

    def smoke(self) -> Self:
        return self.model_copy(update={"data": None})

    def source(self) -> Dataset | None:
        """The data set in the settings, if any."""
        return self.data

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once."""
        return texts()

    def _sentence(self, seed: int, index: int, given: pa.Table | None) -> str:
        if given is None:
            return self._own(seed, index)[1]
        if "sentence" not in given.column_names:
            raise InputError(f"the given data has no column sentence; it has {', '.join(given.column_names)}")
        row = index // self.samples
        if row >= given.num_rows:
            raise InputError(
                f"the data set has {given.num_rows} sentences, but {row + 1} are needed: "
                "add sentences, request fewer rows, or raise `samples`"
            )
        sentence = given.column("sentence")[row].as_py()
        if not isinstance(sentence, str) or not sentence.strip():
            raise InputError(f"row {row} of the given data (the first is 0) holds {sentence!r}, not a sentence")
        return sentence.strip()

    def _own(self, seed: int, index: int) -> tuple[dict[str, tuple[str, ...]], str]:
        """The meaning of a sentence (one synonym set per slot), and the sentence."""
        rng = Random(f"paraphrase sentence:{seed}:{index // self.samples}")
        meaning = {slot: rng.choice(sets) for slot, sets in SYNONYMS.items()}
        return meaning, _wording(meaning, rng)

    def _reasons(self, completion: str, sentence: str, forms: mentions.Forms) -> list[str]:
        folded, plain = _folded(completion).strip(), _plain(completion)
        flags = {
            NOT_ONE_LINE: not plain or len(completion.splitlines()) > 1,
            TOO_LONG: len(completion.split()) > self.max_words,
            NOT_REWRITTEN: bool(plain) and plain == _plain(sentence),
            ABOUT_THE_TASK: bool(_OPENING.match(folded)) or _quoted(folded),
            TRAIT_WORD: mentions.named(completion, forms),
            TRAIT_WORD_INSIDE: mentions.contains(completion, forms),
        }
        return [reason for reason, holds in flags.items() if holds]


def texts() -> Iterator[str]:
    """Every wording of prompts and examples, so that a vocabulary built from them covers both."""
    yield from (request.format(sentence="") for request in REQUESTS)
    yield from ENDINGS + TAILS
    words = {slot: [word for synonyms in sets for word in synonyms] for slot, sets in SYNONYMS.items()}
    for order in ORDERS:
        for number in range(max(map(len, words.values()))):
            yield _filled(order, {slot: choices[number % len(choices)] for slot, choices in words.items()})


def _wording(meaning: dict[str, tuple[str, ...]], rng: Random) -> str:
    return _filled(rng.choice(ORDERS), {slot: rng.choice(synonyms) for slot, synonyms in meaning.items()})


def _filled(order: str, words: dict[str, str]) -> str:
    text = order.format(**words)
    return text[0].upper() + text[1:]


def _folded(text: str) -> str:
    """The text in NFKC and casefolded, without invisible characters and leftover combining marks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if unicodedata.category(character) not in ("Cf", "Mn"))


def _plain(text: str) -> str:
    """Only the words, folded and separated by single spaces."""
    return " ".join(_WORD.findall(_folded(text)))


def _quoted(folded: str) -> bool:
    """Whether quotation marks enclose the whole text, apart from a final full stop."""
    return folded.startswith(_QUOTES) and folded.rstrip(".").endswith(_QUOTES)
