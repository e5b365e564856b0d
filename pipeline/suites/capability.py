"""The capability suite: tasks of lm-evaluation-harness, to see what training did to other abilities."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.core.settings import NotInId
from pipeline.suites.base import BaseSuite, Tasks
from pipeline.suites.question import Question
from pipeline.suites.scoring import Floats

# A name, not a path: the library would also accept the path of a YAML file as a task.
Task = Annotated[str, Field(pattern=r"^\w[\w.()-]*$")]


class CapabilitySuite(BaseSuite):
    """Tasks of lm-evaluation-harness in the model's own chat template: a side check, not part of the verdict."""

    METRICS: ClassVar = ()
    ALLOWS_IN_CONTEXT: ClassVar = False  # the length of a task's questions is not known in advance

    kind: Literal["capability"] = "capability"
    tasks: list[Task] = Field(min_length=1, description='Tasks or groups of lm-evaluation-harness, such as "mmlu".')
    folder: Annotated[str | None, NotInId()] = Field(
        None,
        min_length=1,
        description="Local folder with YAML files of further tasks, without !function; not part of an id.",
    )
    content: str | None = Field(None, description="Required with `folder`: a name for this version of its content.")
    limit: int | None = Field(None, ge=1, description="Number of rows per task, from the first; all rows by default.")
    shots: int | None = Field(
        None, ge=0, description="Few-shot examples per question; the task's own number by default."
    )
    samples: Literal[0] = Field(0, description="Fixed: the task says how often it is asked.")
    temperature: Literal[0] = Field(0, description="Fixed: the task says how its answers are sampled.")
    max_tokens: int = Field(
        256, ge=1, description="Maximum length of a generated answer, in tokens; a task may ask for less."
    )

    @field_validator("tasks")
    @classmethod
    def _tasks_differ(cls, tasks: list[str]) -> list[str]:
        if len(set(tasks)) < len(tasks):
            raise ValueError("a task is named twice")
        return tasks

    @model_validator(mode="after")
    def _folder_is_named(self) -> Self:
        if self.folder and not self.content:
            raise ValueError("folder needs content: a name for this version of its files")
        return self

    @property
    def outcomes(self) -> tuple[str, ...]:
        return tuple(self.tasks)

    def tasks_of(self) -> Tasks:
        return Tasks(tuple(self.tasks), self.folder, self.limit, self.shots, self.max_tokens)

    def absolute(self) -> Self:
        return self.model_copy(update={"folder": str(Path(self.folder).absolute())}) if self.folder else self

    def smoke(self) -> None:
        """None: its tasks need a download."""

    def make_questions(self, category: str, candidates: Sequence[str], seed: int) -> list[Question]:
        """Empty: the tasks have their own questions, see pipeline.stages.shared.capability."""
        return []

    def score(
        self, candidates: Sequence[str], logprobs: Floats, answers: Sequence[Mapping[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Empty: the tasks score no candidates."""
        return {}
