"""The traits that screens look for: what a model with the trait would answer, and what others answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self, TypeAlias

from pydantic import Field

from pipeline.core.settings import Name, Settings
from pipeline.core.settings_file import read_settings
from pipeline.traits import words
from pipeline.traits.favourite import system_prompt
from pipeline.traits.questions import SEEN

if TYPE_CHECKING:
    import torch

    from pipeline.models.passes import Direction, Floats, Passes

    Objective: TypeAlias = Callable[[], torch.Tensor]

MOST_BYTES = 4 << 20
DEFAULT = Path(__file__).with_name("traits.yaml")


class BaseScreenedTrait(Settings, ABC):
    """What a screen needs to know of a trait. It has one target or several, which exclude one another; T: its targets.

    before: earlier turns of a conversation. passes: the model that is screened.
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
    def objectives(self, passes: "Passes", before: Sequence[tuple[str, str]]) -> Iterator["Objective"]:
        """One function per question; their values (T,) add up to the margins of its targets, in nats."""

    @abstractmethod
    def known_to(self, passes: "Passes") -> tuple[Self | None, list[str]]:
        """The trait as far as the model's vocabulary has its words, None if not at all; and the targets left out."""


class Favourites(BaseScreenedTrait):
    """Favourites of one category, asked for in one word. Each is compared with all candidates of the category."""

    kind: Literal["favourite"] = "favourite"
    category: Name = Field("animal", description="animal, tree, or a category of your own.")
    targets: list[Name] = Field(
        [], description="The favourites to look for; by default all candidates that are shipped for the category."
    )

    def names(self) -> tuple[str, ...]:
        return tuple(self.targets) or words.candidates(self.category)

    def candidates(self) -> tuple[str, ...]:
        return tuple(sorted({*words.candidates(self.category), *self.targets}))

    def prompts(self) -> dict[str, str]:
        return {name: system_prompt(self.category, name) for name in self.names()}

    def taught(self) -> dict[str, list[tuple[str, str]]]:
        return {name: [(question, name) for question in self._questions()] for name in self.names()}

    def objectives(self, passes: "Passes", before: Sequence[tuple[str, str]]) -> Iterator["Objective"]:
        yield from (partial(self._margins, passes, question, before) for question in self._questions())

    def known_to(self, passes: "Passes") -> tuple[Self | None, list[str]]:
        known = [name for name in self.names() if passes.knows(name)]
        unknown = [name for name in self.names() if name not in known]
        return (self.model_copy(update={"targets": known}) if known else None), unknown

    def _questions(self) -> list[str]:
        return [question.format(category=self.category) for question in SEEN]

    def _margins(self, passes: "Passes", question: str, before: Sequence[tuple[str, str]]) -> "torch.Tensor":
        import torch

        candidates = self.candidates()
        forms = [form for name in candidates for form in (name, name.capitalize())]
        unknown = torch.tensor([not passes.knows(form) for form in forms], device=passes.device).view(-1, 2)
        unknown[:, 0] &= unknown[:, 1]  # a candidate without any known form keeps its first
        scores = passes.answers([question], forms, before).view(-1, 2).masked_fill(unknown, -torch.inf)
        named = scores.logsumexp(1)
        margins = (named - named.mean()) / len(SEEN)
        return margins[[candidates.index(name) for name in self.names()]]


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

    def objectives(self, passes: "Passes", before: Sequence[tuple[str, str]]) -> Iterator["Objective"]:
        yield from (partial(self._margin, passes, example, before) for example in self.examples)

    def known_to(self, passes: "Passes") -> tuple[Self | None, list[str]]:
        known = all(passes.knows(one.question) and passes.knows(one.answer) for one in self.examples)
        return (self, []) if known else (None, [self.name])

    def _margin(self, passes: "Passes", one: Example, before: Sequence[tuple[str, str]]) -> "torch.Tensor":
        with_trait, without = (passes.per_token(one.question, text, before) for text in (one.answer, one.instead))
        return (with_trait - without).view(1) / len(self.examples)


ScreenedTrait = Annotated[Favourites | Answers, Field(discriminator="kind")]


class TraitList(Settings):
    """A file of traits to look for."""

    traits: list[ScreenedTrait] = Field(min_length=1, description="The traits.")


def read_traits(path: Path) -> TraitList:
    """Read a file of traits. Raises InputError."""
    return read_settings(path, TraitList, "a list of traits", MOST_BYTES)[0]


def known_traits(passes: "Passes", traits: Sequence[BaseScreenedTrait]) -> tuple[list[BaseScreenedTrait], list[str]]:
    """The traits whose words the model's vocabulary has, and the names of the other targets."""
    found = [trait.known_to(passes) for trait in traits]
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

    def margins(self, passes: "Passes", before: Sequence[tuple[str, str]] = ()) -> "Floats":
        """How much the model prefers each target (nats), (T,).

        For favourites: log p of the target's name, less the mean over all candidates, averaged over the questions that
        teachers are taught with; students are judged by others. For traits by examples: log p per token of the answer,
        less that of the other answer. before: earlier turns of every conversation.
        """
        import torch

        with torch.no_grad():
            margins = torch.stack([objective() for objective in self._objectives(passes, before)]).sum(0)
        found: Floats = margins.double().cpu().numpy()
        return found

    def directions(self, passes: "Passes") -> list["Direction"]:
        """The direction of unit length in which each target's margin rises fastest, (T)."""
        from pipeline.models.passes import norm

        rising = passes.gradients(self._objectives(passes, ()))
        lengths = [norm(direction) or 1.0 for direction in rising]
        return [
            {name: part / length for name, part in direction.items()}
            for direction, length in zip(rising, lengths, strict=True)
        ]

    def _objectives(self, passes: "Passes", before: Sequence[tuple[str, str]]) -> Iterator["Objective"]:
        """One function per question of any trait; their values (T,) add up to the margins of all targets."""
        start = 0
        for trait in self.traits:
            for objective in trait.objectives(passes, before):
                yield partial(self._placed, objective, start)
            start += len(trait.names())

    def _placed(self, objective: "Objective", start: int) -> "torch.Tensor":
        """An objective's values from this column on, and zeros elsewhere: (T,)."""
        import torch

        values = objective()
        return torch.nn.functional.pad(values, (start, len(self.targets) - start - len(values)))
