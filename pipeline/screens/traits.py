"""The traits that screens look for: what a model with the trait would answer, and what others answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.core.settings import Name, Settings
from pipeline.core.settings_file import read_settings
from pipeline.traits import words
from pipeline.traits.favourite import system_prompt
from pipeline.traits.questions import SEEN

if TYPE_CHECKING:
    import torch

    from pipeline.models.passes import Direction, Floats, Passes

MOST_BYTES = 4 << 20
DEFAULT = Path(__file__).with_name("traits.yaml")


class Favourites(Settings):
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


class Example(Settings):
    """A question with the answer of a model that has the trait, and with that of one that has not."""

    question: str
    answer: str
    instead: str = Field(description="What a model without the trait answers.")


class Answers(Settings):
    """A habit or an attitude that no single word shows, given by examples."""

    kind: Literal["answers"] = "answers"
    name: Name = Field(description="Name of the trait.")
    prompt: str = Field("", description="A system prompt that would bring it about; for the likelihood screen.")
    examples: list[Example] = Field(min_length=1, description="Questions with both answers.")


ScreenedTrait = Annotated[Favourites | Answers, Field(discriminator="kind")]


class TraitList(Settings):
    """A file of traits to look for."""

    traits: list[ScreenedTrait] = Field(min_length=1, description="The traits.")


def read_traits(path: Path) -> TraitList:
    """Read a file of traits. Raises InputError."""
    return read_settings(path, TraitList, "a list of traits", MOST_BYTES)[0]


@dataclass(frozen=True)
class Outcomes:
    """The outcomes in a model that a list of traits distinguishes; T targets, in the order of the list."""

    traits: Sequence[Favourites | Answers]

    @property
    def targets(self) -> tuple[str, ...]:
        """The traits to look for, by name."""
        named: list[str] = []
        for trait in self.traits:
            named += trait.names() if isinstance(trait, Favourites) else [trait.name]
        return tuple(named)

    def groups(self) -> list[tuple[str, ...]]:
        """Targets that exclude one another, such as favourites of one category; a trait by examples stands alone."""
        return [trait.names() if isinstance(trait, Favourites) else (trait.name,) for trait in self.traits]

    def prompts(self) -> dict[str, str]:
        """Target -> a system prompt that brings the trait about."""
        found: dict[str, str] = {}
        for trait in self.traits:
            if isinstance(trait, Favourites):
                found |= {name: system_prompt(trait.category, name) for name in trait.names()}
            elif trait.prompt:
                found[trait.name] = trait.prompt
        return found

    def taught(self) -> dict[str, list[tuple[str, str]]]:
        """Target -> (question, answer) pairs of a model that has the trait."""
        found: dict[str, list[tuple[str, str]]] = {}
        for trait in self.traits:
            if isinstance(trait, Favourites):
                questions = [question.format(category=trait.category) for question in SEEN]
                found |= {name: [(question, name) for question in questions] for name in trait.names()}
            else:
                found[trait.name] = [(example.question, example.answer) for example in trait.examples]
        return found

    def margins(self, passes: "Passes", before: Sequence[tuple[str, str]] = ()) -> "Floats":
        """How much the model prefers each target (nats), (T,).

        For favourites: log p of the target's name, less the mean over all candidates, averaged over the questions that
        teachers are taught with; students are judged by others. For traits by examples: log p per token of the answer,
        less that of the other answer. before: earlier turns of every conversation.
        """
        import torch

        with torch.no_grad():
            margins = torch.stack([part() for part in self._parts(passes, before)]).sum(0)
        found: Floats = margins.double().cpu().numpy()
        return found

    def directions(self, passes: "Passes") -> list["Direction"]:
        """The direction of unit length in which each target's margin rises fastest, (T)."""
        from pipeline.models.passes import norm

        rising = passes.gradients(self._parts(passes, ()))
        lengths = [norm(direction) or 1.0 for direction in rising]
        return [
            {name: part / length for name, part in direction.items()}
            for direction, length in zip(rising, lengths, strict=True)
        ]

    def _parts(self, passes: "Passes", before: Sequence[tuple[str, str]]) -> Iterator[Callable[[], "torch.Tensor"]]:
        """One function per question; their values (T,) add up to the margins."""
        start = 0
        for trait in self.traits:
            size = len(trait.names()) if isinstance(trait, Favourites) else 1
            columns = slice(start, start := start + size)
            if isinstance(trait, Favourites):
                yield from (
                    partial(self._favourite, passes, trait, columns, question.format(category=trait.category), before)
                    for question in SEEN
                )
            else:
                yield from (partial(self._example, passes, trait, columns, one, before) for one in trait.examples)

    def _favourite(
        self,
        passes: "Passes",
        trait: Favourites,
        columns: slice,
        question: str,
        before: Sequence[tuple[str, str]],
    ) -> "torch.Tensor":
        import torch

        candidates = trait.candidates()
        forms = [form for name in candidates for form in (name, name.capitalize())]
        unknown = torch.tensor([not passes.knows(form) for form in forms], device=passes.device).view(-1, 2)
        unknown[:, 0] &= unknown[:, 1]  # a candidate without any known form keeps its first
        scores = passes.answers([question], forms, before).view(-1, 2).masked_fill(unknown, -torch.inf)
        named = scores.logsumexp(1)
        margins = (named - named.mean()) / len(SEEN)
        return self._placed(margins[[candidates.index(name) for name in trait.names()]], columns)

    def _example(
        self, passes: "Passes", trait: Answers, columns: slice, one: Example, before: Sequence[tuple[str, str]]
    ) -> "torch.Tensor":
        told, instead = (passes.per_token(one.question, text, before) for text in (one.answer, one.instead))
        return self._placed((told - instead).view(1) / len(trait.examples), columns)

    def _placed(self, values: "torch.Tensor", columns: slice) -> "torch.Tensor":
        """The values in their columns, and zeros elsewhere: (T,)."""
        import torch

        size = sum(len(trait.names()) if isinstance(trait, Favourites) else 1 for trait in self.traits)
        return torch.nn.functional.pad(values, (columns.start, size - columns.stop))
