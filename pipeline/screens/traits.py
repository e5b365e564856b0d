"""The traits that screens look for: what a model with the trait would answer, and what others answer."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from pipeline.core.settings import Name, NotInId, Settings
from pipeline.core.settings_file import read_settings
from pipeline.suites.spelling import Form, spellings
from pipeline.traits import words
from pipeline.traits.favourite import system_prompt
from pipeline.traits.questions import SEEN

if TYPE_CHECKING:
    import torch

    from pipeline.models.language_model import Floats, LanguageModel
    from pipeline.models.passes import Direction, Passes

    Term: TypeAlias = tuple[Callable[[], torch.Tensor], Sequence[float]]

MOST_BYTES = 4 << 20
DEFAULT = Path(__file__).with_name("traits.yaml")


class BaseScreenedTrait(Settings, ABC):
    """What a screen needs to know of a trait. It has one target or several, which exclude one another; T: its targets.

    before: earlier turns of a conversation. model: the model that is screened.
    """

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """The names of its targets."""

    @abstractmethod
    def prompts(self) -> dict[str, str]:
        """Target -> a system prompt that brings the trait about, where there is one."""

    @abstractmethod
    def taught(self) -> dict[str, list[tuple[str, str]]]:
        """Target -> (question, answer) pairs of a model that has the trait."""

    @abstractmethod
    def terms(self, model: "LanguageModel", before: Sequence[tuple[str, str]]) -> Iterator["Term"]:
        """Log-probabilities (nats) with their weights (T,) in the margins of its targets, which are their sums."""

    @abstractmethod
    def known_to(self, model: "LanguageModel") -> tuple[Self | None, list[str]]:
        """The trait as far as the model's vocabulary has its words, None if not at all; and the targets left out."""


class Favourites(BaseScreenedTrait):
    """Favourites of one category, asked for in one word. Each is compared with all candidates of the category."""

    kind: Literal["favourite"] = "favourite"
    category: Name = Field("animal", description="animal, tree, or a category of your own.")
    targets: list[Name] = Field(
        [], description="The favourites to look for; by default all candidates that are shipped for the category."
    )
    forms: Annotated[list[Form], NotInId(while_default=True)] = Field(
        [],
        description="Spellings that count for a candidate, as in the suite `favourite`; by default the word in lower "
        "case and with a capital.",
    )
    opening: Annotated[str, NotInId(while_default=True)] = Field(
        "", description="What an answer begins with before a candidate is scored, as in the suite `favourite`."
    )

    def names(self) -> tuple[str, ...]:
        return tuple(self.targets) or words.candidates(self.category)

    def candidates(self) -> tuple[str, ...]:
        return tuple(sorted({*words.candidates(self.category), *self.targets}))

    def prompts(self) -> dict[str, str]:
        return {name: system_prompt(self.category, name) for name in self.names()}

    def taught(self) -> dict[str, list[tuple[str, str]]]:
        begun = f"{self._opened().rstrip()} " if self.opening else ""
        return {name: [(question, begun + name) for question in self._questions()] for name in self.names()}

    def terms(self, model: "LanguageModel", before: Sequence[tuple[str, str]]) -> Iterator["Term"]:
        candidates = self.candidates()
        for candidate in candidates:
            shares = [float(candidate == name) - 1 / len(candidates) for name in self.names()]
            yield partial(self._named, model, candidate, before), shares

    def known_to(self, model: "LanguageModel") -> tuple[Self | None, list[str]]:
        known = [name for name in self.names() if model.knows(name)]
        unknown = [name for name in self.names() if name not in known]
        return (self.model_copy(update={"targets": known}) if known else None), unknown

    def _opened(self) -> str:
        return self.opening.replace("{category}", self.category)

    def _questions(self) -> list[str]:
        return [question.format(category=self.category) for question in SEEN]

    def _named(self, model: "LanguageModel", candidate: str, before: Sequence[tuple[str, str]]) -> "torch.Tensor":
        """log p (nats) that an answer names a candidate, averaged over the questions."""
        scores = model.answers(self._questions(), self._written(model, candidate), before, self._opened())
        return scores.logsumexp(1).mean()

    def _written(self, model: "LanguageModel", name: str) -> list[str]:
        """The spellings of a candidate that the vocabulary has, or its first; none whose tokens another one begins."""
        texts = spellings(self.category, name, self.forms or ["capitalised"])
        known = [text for text in texts if model.knows(text)] or [texts[0]]
        paths = dict(zip(model.turn_tokens(self._questions()[0], known, self._opened()), known, strict=True))
        return [text for path, text in paths.items() if not any(path[:end] in paths for end in range(len(path)))]


class Example(Settings):
    """A question with the answer of a model that has the trait, and with that of one that has not."""

    question: str
    answer: str
    instead: str = Field(description="What a model without the trait answers.")


class Answers(BaseScreenedTrait):
    """A habit or an attitude that no single word shows, given by examples."""

    kind: Literal["answers"] = "answers"
    name: Name = Field(description="Name of the trait.")
    prompt: str = Field("", description="A system prompt that would bring it about; for the likelihood screen.")
    examples: list[Example] = Field(min_length=1, description="Questions with both answers.")

    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def prompts(self) -> dict[str, str]:
        return {self.name: self.prompt} if self.prompt else {}

    def taught(self) -> dict[str, list[tuple[str, str]]]:
        return {self.name: [(example.question, example.answer) for example in self.examples]}

    def terms(self, model: "LanguageModel", before: Sequence[tuple[str, str]]) -> Iterator["Term"]:
        for example in self.examples:
            yield partial(self._margin, model, example, before), [1 / len(self.examples)]

    def known_to(self, model: "LanguageModel") -> tuple[Self | None, list[str]]:
        known = all(model.knows(one.question) and model.knows(one.answer) for one in self.examples)
        return (self, []) if known else (None, [self.name])

    def _margin(self, model: "LanguageModel", one: Example, before: Sequence[tuple[str, str]]) -> "torch.Tensor":
        with_trait, without = (model.per_token(one.question, text, before) for text in (one.answer, one.instead))
        return with_trait - without


ScreenedTrait = Annotated[Favourites | Answers, Field(discriminator="kind")]


class TraitList(Settings):
    """A file of traits to look for."""

    traits: list[ScreenedTrait] = Field(min_length=1, description="The traits.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = Counter(name for trait in self.traits for name in trait.names())
        twice = sorted(name for name, count in names.items() if count > 1)
        if twice:
            raise ValueError(f"several traits are named {', '.join(twice)}: give each a name of its own")
        return self


def read_traits(path: Path) -> TraitList:
    """Read a file of traits. Raises InputError."""
    return read_settings(path, TraitList, "a list of traits", MOST_BYTES)[0]


def known_traits(
    model: "LanguageModel", traits: Sequence[BaseScreenedTrait]
) -> tuple[list[BaseScreenedTrait], list[str]]:
    """The traits whose words the model's vocabulary has, and the names of the other targets."""
    found = [trait.known_to(model) for trait in traits]
    return [kept for kept, _ in found if kept], [name for _, unknown in found for name in unknown]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes in a model that a list of traits distinguishes; T targets, in the order of the list."""

    traits: Sequence[BaseScreenedTrait]

    @property
    def targets(self) -> tuple[str, ...]:
        """The traits to look for, by name."""
        return tuple(name for group in self.groups() for name in group)

    def groups(self) -> list[tuple[str, ...]]:
        """Targets that exclude one another, such as favourites of one category; a trait by examples stands alone."""
        return [trait.names() for trait in self.traits]

    def prompts(self) -> dict[str, str]:
        """Target -> a system prompt that brings the trait about."""
        return {name: prompt for trait in self.traits for name, prompt in trait.prompts().items()}

    def taught(self) -> dict[str, list[tuple[str, str]]]:
        """Target -> (question, answer) pairs of a model that has the trait."""
        return {name: pairs for trait in self.traits for name, pairs in trait.taught().items()}

    def margins(self, model: "LanguageModel", before: Sequence[tuple[str, str]] = ()) -> "Floats":
        """How much the model prefers each target (nats), (T,).

        For favourites: log p of the target's name, less the mean over all candidates, averaged over the questions that
        teachers are taught with; students are judged by others. For traits by examples: log p per token of the answer,
        less that of the other answer. before: earlier turns of every conversation.
        """
        import torch

        with torch.no_grad():
            parts = [float(value()) * np.array(shares) for value, shares in self._terms(model, before)]
        found: Floats = np.sum(parts, axis=0)
        return found

    def directions(self, passes: "Passes") -> list["Direction"]:
        """The direction of unit length in which each target's margin rises fastest, (T)."""
        from pipeline.models.passes import norm

        rising = passes.gradients(self._terms(passes, ()))
        lengths = [norm(direction) or 1.0 for direction in rising]
        return [
            {name: part / length for name, part in direction.items()}
            for direction, length in zip(rising, lengths, strict=True)
        ]

    def _terms(self, model: "LanguageModel", before: Sequence[tuple[str, str]]) -> Iterator["Term"]:
        """Terms of the margins of all targets."""
        start = 0
        for trait in self.traits:
            size = len(trait.names())
            for value, shares in trait.terms(model, before):
                yield value, [*[0.0] * start, *shares, *[0.0] * (len(self.targets) - start - size)]
            start += size
