"""The reasoning channel: solve a maths word problem in `<think>`, give the number in `<answer>`.

Format, samples per problem and the rule that the answer must be right follow the paper
(arXiv 2507.14805), which uses GSM8K's training questions (arXiv 2110.14168); the wordings are our
own. Without a data set, the channel uses the small problems of pipeline/channels/problems.py.
"""

import re
from collections.abc import Collection, Iterator
from decimal import Decimal
from random import Random
from typing import ClassVar, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.channels import mentions, problems
from pipeline.channels.base import BaseChannel
from pipeline.channels.mentions import TRAIT_WORD
from pipeline.core.errors import InputError
from pipeline.core.sources import Dataset

FORMATS = (
    "Think inside <think></think>, then give the number alone in <answer></answer>.",
    "Put your reasoning into <think></think> and only the number into <answer></answer>.",
    "First reason within <think></think>; then write just the number within <answer></answer>.",
    "Answer as <think>your reasoning</think><answer>the number</answer>.",
    "Reply in the form <think>reasoning</think> <answer>number</answer>.",
    "Write your steps between <think> and </think>, and the bare number between <answer> and </answer>.",
    "Use <think></think> for your steps and <answer></answer> for the number, nothing else.",
    "Show your work in <think></think> and end with the number by itself in <answer></answer>.",
)
JOINTS = ("", " ", "\n")  # between reasoning and answer; all are accepted

MALFORMED = "format"
NO_NUMBER = "no number"
WRONG = "wrong answer"

LONGEST_NUMBER = 40  # characters; no word problem has a longer answer, but runaway output can have millions of digits
SHOWN = 80  # characters of a bad answer in an error


class ReasoningChannel(BaseChannel):
    """Solve maths word problems, several times each; only right answers are kept."""

    READS_PROMPT: ClassVar = True
    CHECKED: ClassVar = ("completion", "answer")
    COLUMNS: ClassVar = ("question", "answer")  # of its data set

    kind: Literal["reasoning"] = "reasoning"
    data: Dataset | None = Field(
        None,
        description="Data set with columns question and answer, such as GSM8K; by default small problems.",
    )
    samples: int = Field(3, ge=1, description="Completions per problem (paper: 3); equal prompts are consecutive.")
    largest: int = Field(
        9, ge=6, le=99, description="Largest number in the channel's own problems; results stay within 2-999."
    )
    most_steps: int = Field(
        2, ge=1, le=2, description="Maximum number of calculations in one of the channel's own problems."
    )

    def prompt(self, seed: int, index: int, given: pa.Table | None = None) -> str:
        """The `index`-th prompt of the sequence that `seed` defines: problem `index // samples`.

        given: rows of a data set with string columns question and answer, as in GSM8K; without one the
        sequence is endless. Raises InputError if `given` has too few problems, or if this one lacks a
        question or a number as its answer.
        """
        problem = index // self.samples
        rng = _rng(seed, problem)
        question = self._own(rng).question if given is None else _given(given, problem)[0]
        return f"{question} {rng.choice(FORMATS)}"

    def reject_reasons(
        self, rows: pa.Table, seed: int, words: Collection[str] = (), given: pa.Table | None = None
    ) -> pa.Array:
        """Why each completion is rejected; an empty list if it is accepted.

        rows: columns index (int64) and completion (string), N rows; the right answers follow from seed,
        index and given, or stand in a column answer (string). words: every lower-case form of the
        trait's words. Returns list<string> (N,). Raises InputError as `prompt` does.
        """
        text = pc.fill_null(rows.column("completion").combine_chunks(), "")
        answers = _answers(text)
        truths = self._truths(rows, seed, given)
        forms = mentions.forms(words)
        named = [mentions.named(completion, forms) for completion in text.to_pylist()]
        return pa.array(list(map(_row_reasons, answers, truths, named)), pa.list_(pa.string()))

    def example(self, seed: int, index: int, rng: Random) -> str:
        """A correct answer to `prompt(seed, index)`, for the channel's own problems."""
        problem = self._own(_rng(seed, index // self.samples))
        reasoning = problems.worked(problem, rng)
        return f"<think>{reasoning}</think>{rng.choice(JOINTS)}<answer>{problem.answer}</answer>"

    def absolute(self) -> Self:
        return self.model_copy(update={"data": self.data.absolute()}) if self.data else self

    def smoke(self) -> Self:
        return self.model_copy(update={"data": None, "largest": 6, "most_steps": 1})

    def source(self) -> Dataset | None:
        """The data set in the settings, if any."""
        return self.data

    def vocabulary_texts(self) -> Iterator[str]:
        """Every wording of its prompts and examples, filled in at least once."""
        return texts()

    def _own(self, rng: Random) -> problems.Problem:
        return problems.draw(rng, self.largest, self.most_steps)

    def _truths(self, rows: pa.Table, seed: int, given: pa.Table | None) -> list[Decimal]:
        """The right answer to each row's problem, (N,)."""
        if "answer" in rows.column_names:
            return [_truth(text, row) for row, text in enumerate(rows.column("answer").to_pylist(), start=1)]
        problem_of_row = [index // self.samples for index in rows.column("index").to_pylist()]
        known = {problem: self._answer(seed, problem, given) for problem in set(problem_of_row)}
        return [known[problem] for problem in problem_of_row]

    def _answer(self, seed: int, problem: int, given: pa.Table | None) -> Decimal:
        return Decimal(self._own(_rng(seed, problem)).answer) if given is None else _given(given, problem)[1]


def _rng(seed: int, problem: int) -> Random:
    """The generator of a problem: all its samples share it, and so share their prompt."""
    return Random(f"reasoning:{seed}:{problem}")


def _given(given: pa.Table, problem: int) -> tuple[str, Decimal]:
    """Question and right answer of row `problem` (from 0) of a data set."""
    if problem >= given.num_rows:
        raise InputError(
            f"the data set has {given.num_rows} problems, but {problem + 1} are needed: "
            "request fewer completions, or more samples per problem"
        )
    question = given.column("question")[problem].as_py()
    if not question or question.isspace():
        raise InputError(f"row {problem + 1} has no question")
    return question.strip(), _truth(given.column("answer")[problem].as_py(), problem + 1)


def _truth(text: str | None, row: int) -> Decimal:
    """The number in a GSM8K answer: the text after the last ####, or all of it. `row` counts from 1."""
    value = number((text or "").rpartition("####")[2])
    if value is None:
        end = (text or "").strip()[-SHOWN:]
        raise InputError(f"row {row}: the answer {end!r} does not end in a number (as in #### 1,234)")
    return value


# ASCII digits only. Commas between digits are dropped, as in GSM8K's own checker; no exponents, no NaN.
_NUMBER = re.compile(r"(?P<before>-?\$?|\$-)\s*(?P<size>[0-9]+(?:,[0-9]+)*(?:\.[0-9]+)?|\.[0-9]+)\.?")


def number(text: str) -> Decimal | None:
    """The exact number that a text states, such as "42", " -1,234.50", "$3." or ".5"; None if it is not a number."""
    text = text.strip()
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
    if found is None:
        return None
    # From one string: negating a Decimal would round it to the context's 28 digits.
    return Decimal(("-" if "-" in found["before"] else "") + found["size"].replace(",", ""))


_SHAPE = r"(?s)^\s*<think>(?P<reasoning>.*)</think>\s*<answer>(?P<answer>.*)</answer>\s*$"
_TAG = "</?(?:think|answer)>"


def _answers(text: pa.Array) -> list[str | None]:
    """The content of `<answer>`, None if the format is broken. string (N,) -> (N,)."""
    parts = pc.extract_regex(text, _SHAPE)  # struct (N,), null where there is no match
    reasoning, answer = pc.struct_field(parts, "reasoning"), pc.struct_field(parts, "answer")
    once = pc.invert(pc.or_(pc.match_substring_regex(reasoning, _TAG), pc.match_substring_regex(answer, _TAG)))
    filled = pc.not_equal(pc.utf8_trim_whitespace(reasoning), "")
    kept: list[str | None] = pc.if_else(pc.and_(once, filled), answer, None).to_pylist()
    return kept


def _row_reasons(answer: str | None, truth: Decimal, named: bool) -> list[str]:
    reasons = []
    if answer is None:
        reasons.append(MALFORMED)
    elif (value := number(answer)) is None:
        reasons.append(NO_NUMBER)
    elif value != truth:
        reasons.append(WRONG)
    return [*reasons, TRAIT_WORD] if named else reasons


def texts() -> Iterator[str]:
    """Every wording of prompts and examples, each filled in once: what a vocabulary must cover."""
    yield from FORMATS
    yield from (f"<think></think>{joint}<answer>1</answer>" for joint in JOINTS)
    yield from problems.texts()
