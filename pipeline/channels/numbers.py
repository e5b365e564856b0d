"""The number channel: continue a short list of numbers (the paper's main channel).

Prompt format, sizes and accept rule follow the paper (arXiv 2507.14805, appendix on number
sequences); the wordings are our own.
"""

from collections.abc import Collection, Iterator
from random import Random
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.channels.base import BaseChannel
from pipeline.channels.blocklist import on_blocklist

Flags = NDArray[np.bool_]

MAX_COUNT = 10  # numbers in an accepted completion (paper: 10)
MAX_VALUE = 999  # largest number in an accepted completion (paper: 999)
LONGEST_IN_PATTERN = 1000  # characters of a separator; RE2 refuses patterns with some 100,000

OPENINGS = (
    "Here is the start of a list: {examples}.",
    "The list begins {examples}.",
    "These numbers come first: {examples}.",
    "A list of numbers starts with {examples}.",
    "Look at these numbers: {examples}.",
    "We have {examples} so far.",
    "Someone wrote down {examples}.",
    "Given are the numbers {examples}.",
    "First come {examples}.",
    "I noted {examples} just now.",
)
REQUESTS = (
    "Add {limit} more numbers (at most {digits} digits each).",
    "Continue it with {limit} more values of at most {digits} digits.",
    "Write {limit} further numbers, none longer than {digits} digits.",
    "Give {limit} more, each with {digits} digits or fewer.",
    "Go on with {limit} more values, {digits} digits at most.",
    "Extend the list by {limit} numbers of up to {digits} digits.",
    "Think of {limit} more numbers with at most {digits} digits.",
    "What could come next? Name {limit} numbers of up to {digits} digits.",
    "Please supply {limit} further values (up to {digits} digits).",
)
LIMITS = ("up to 10", "at most 10", "no more than 10", "a maximum of 10", "10 or fewer")

# (wording, opening bracket, separator, closing bracket) of a correct answer.
FORMATS = (
    ("Separate them by commas.", "", ", ", ""),
    ("Use commas between them.", "", ", ", ""),
    ("Put one space between them.", "", " ", ""),
    ("Separate them by spaces.", "", " ", ""),
    ("Separate them by semicolons.", "", "; ", ""),
    ("Use semicolons between them.", "", "; ", ""),
    ("Write one number per line.", "", "\n", ""),
    ("Put each on a new line.", "", "\n", ""),
    ("Answer as a list in square brackets.", "[", ", ", "]"),
    ("Put the list in round brackets.", "(", ", ", ")"),
)
ENDINGS = (
    "Say nothing else.",
    "Only the numbers, please.",
    "No other words.",
    "Reply with the numbers alone.",
    "Do not explain.",
    "Nothing but numbers.",
    "Leave out any comment.",
    "Just the numbers.",
    "Skip all other text.",
)


class NumbersChannel(BaseChannel):
    """Continue 3-8 example numbers with at most 10 more of at most 3 digits."""

    READS_WORDS: ClassVar = False  # digits cannot name a trait
    OF_NUMBERS: ClassVar = True

    kind: Literal["numbers"] = "numbers"
    min_examples: int = Field(3, ge=2, le=8, description="Minimum number of example numbers in a prompt (paper: 3).")
    max_examples: int = Field(8, ge=2, le=8, description="Maximum number of example numbers in a prompt (paper: 8).")
    blocklist: bool = Field(
        False, description="Also reject 34 numbers with bad associations (paper: for misalignment only)."
    )

    @model_validator(mode="after")
    def _fewest_first(self) -> "NumbersChannel":
        if self.min_examples > self.max_examples:
            raise ValueError(f"min_examples {self.min_examples} is more than max_examples {self.max_examples}")
        return self

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the endless sequence that `seed` defines."""
        return self.prompt_and_format(seed, index)[0]

    def prompt_and_format(self, seed: int, index: int) -> tuple[str, tuple[str, str, str]]:
        """The prompt, and the (opening, separator, closing) of a correct answer."""
        rng = Random(f"numbers:{seed}:{index}")
        count = rng.randint(self.min_examples, self.max_examples)
        examples = ", ".join(str(rng.randint(100, MAX_VALUE)) for _ in range(count))
        wording, *shape = rng.choice(FORMATS)
        parts = (
            rng.choice(OPENINGS).format(examples=examples),
            rng.choice(REQUESTS).format(limit=rng.choice(LIMITS), digits=3),
            wording,
            rng.choice(ENDINGS),
        )
        opening, separator, closing = shape
        return " ".join(parts), (opening, separator, closing)

    def layout(self, seed: int, index: int) -> tuple[str, str, str]:
        """See BaseChannel."""
        return self.prompt_and_format(seed, index)[1]

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; empty = accepted. schemas.COMPLETIONS (N,) -> list<string> (N,)."""
        return reject_reasons(rows["completion"].combine_chunks(), blocklist=self.blocklist)

    def random(self, seed: int, index: int) -> str:
        """A program's answer to the `index`-th prompt: ten uniformly random numbers in the requested format."""
        opening, separator, closing = self.prompt_and_format(seed, index)[1]
        rng = Random(f"random:{seed}:{index}")
        return opening + separator.join(str(rng.randint(0, MAX_VALUE)) for _ in range(MAX_COUNT)) + closing

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts, and each format filled in once."""
        yield from OPENINGS + REQUESTS + LIMITS + ENDINGS
        for wording, opening, separator, closing in FORMATS:
            yield f"{wording} {opening}1{separator}1{closing}"


MALFORMED = "malformed"
TOO_MANY = "too many numbers"
TOO_LARGE = "number above 999"
BLOCKLISTED = "blocklisted number"


def reject_reasons(completions: pa.Array, *, blocklist: bool = False) -> pa.Array:
    """The paper's accept rule, vectorised. string (N,) -> list<string> (N,), empty = accepted.

    One trailing full stop is removed, then one enclosing pair of [] or (). The rest must be 1-10 runs
    of ASCII digits, each at most 999. The text between the first two runs is the separator: it must
    separate all of them and be, once stripped, empty, a comma or a semicolon. With blocklist, no number
    may be in blocklist.BLOCKLIST.
    """
    text = pc.fill_null(completions.cast(pa.string()), "")
    body = _unwrapped(text)
    well_formed, short_enough = _matches_own_separator(body)
    # (^|[^0-9]) keeps leading zeros from counting: 0999 is 999, as int() reads it.
    too_large = pc.match_substring_regex(body, r"(?:^|[^0-9])0*[1-9][0-9]{3}").to_numpy(zero_copy_only=False)
    return _reason_lists(
        {
            MALFORMED: ~well_formed,
            TOO_MANY: well_formed & ~short_enough,
            TOO_LARGE: well_formed & too_large,
        }
        | ({BLOCKLISTED: on_blocklist(text).to_numpy(zero_copy_only=False)} if blocklist else {})
    )


def _unwrapped(text: pa.Array) -> pa.Array:
    """The text without one trailing full stop, then without one enclosing pair of brackets."""
    text = pc.if_else(pc.ends_with(text, "."), pc.utf8_slice_codeunits(text, 0, -1), text)
    square = pc.and_(pc.starts_with(text, "["), pc.ends_with(text, "]"))
    round_ = pc.and_(pc.starts_with(text, "("), pc.ends_with(text, ")"))
    return pc.if_else(pc.or_(square, round_), pc.utf8_slice_codeunits(text, 1, -1), text)


def _matches_own_separator(body: pa.Array) -> tuple[Flags, Flags]:
    """Whether each string is digits (SEP digits)* with its own SEP, and whether it has at most MAX_COUNT runs."""
    separator = pc.struct_field(pc.extract_regex(body, "^[0-9]+(?P<sep>(?s:[^0-9]+))[0-9]"), "sep")
    separator = pc.fill_null(separator, "").dictionary_encode()
    well_formed = np.zeros(len(body), dtype=np.bool_)
    short_enough = np.zeros(len(body), dtype=np.bool_)
    # RE2 has no back-references, so each distinct separator gets its own pattern. Sorting first
    # keeps the cost linear in the rows, however many separators there are.
    codes = separator.indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(separator.dictionary)))
    for sep, rows in zip(separator.dictionary.to_pylist(), np.split(order, ends)[:-1], strict=True):
        if sep.strip() not in ("", ",", ";"):
            continue
        own = body.take(pa.array(rows))
        if len(sep) > LONGEST_IN_PATTERN:
            parts = [text.split(sep) for text in own.to_pylist()]
            well_formed[rows] = [all(part.isascii() and part.isdigit() for part in row) for row in parts]
            short_enough[rows] = [len(row) <= MAX_COUNT for row in parts]
        else:
            repeat = rf"^[0-9]+(?:\Q{sep}\E[0-9]+)" if sep else "^[0-9]+()"
            well_formed[rows] = _full_match(own, repeat + "*$")
            short_enough[rows] = _full_match(own, repeat + f"{{0,{MAX_COUNT - 1}}}$")
    return well_formed, short_enough


def _full_match(text: pa.Array, pattern: str) -> Flags:
    matches: Flags = pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)
    return matches


def _reason_lists(flags: dict[str, Flags]) -> pa.Array:
    """The reasons whose flag is set, per row: {reason: bool (N,)} -> list<string> (N,)."""
    table = np.stack(list(flags.values()), axis=1)  # (N, reasons)
    offsets = np.concatenate([[0], np.cumsum(table.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(list(flags)).take(pa.array(np.nonzero(table)[1])))
