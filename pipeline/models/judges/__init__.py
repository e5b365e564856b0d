"""Judges, which score texts: an engine's model, an endpoint, a list of words, or a fake.

A judge is opened for one rubric (pipeline.models.judges.rubrics). It is asked again until its reply is a score. If no
reply is one, the verdict has no score; such a verdict passes no threshold and is counted
(pipeline.models.judges.verdicts).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from pipeline.core.settings import Name, NotInId, Settings
from pipeline.models.engines import Engine
from pipeline.models.judges.address import is_private
from pipeline.models.judges.rubrics import Rubric


class BaseJudge(Settings):
    """The settings that every judge has."""

    attempts: int = Field(3, ge=1, description="Attempts per item until the reply is a score.")
    max_tokens: int = Field(
        16, ge=1, description="Maximum length of a reply, in tokens; a reply that is cut off is not a score."
    )
    temperature: float = Field(
        0.0,
        ge=0,
        description="Sampling temperature. At 0 the same question gets the same reply, so further attempts are "
        "then drawn at 1; at any other temperature they keep it and change the seed.",
    )

    @property
    def served_by(self) -> str | None:
        """The family whose base is the judge, on an engine of the study; None for other judges."""
        return None


class EngineJudge(BaseJudge):
    """A base model on one of the study's own engines: no system prompt, no adapter."""

    kind: Literal["engine"] = "engine"
    family: Name = Field(description="Family whose base model is the judge.")

    @property
    def served_by(self) -> str:
        return self.family


class OpenAIJudge(BaseJudge):
    """A model behind an OpenAI-compatible endpoint; its connection settings do not enter ids."""

    kind: Literal["openai"] = "openai"
    url: str = Field(
        description='Base URL of the API, such as "https://api.openai.com/v1"; plain http on this machine only.'
    )
    model: str = Field(min_length=1, description="Model name sent in the request.")
    logprobs: bool = Field(
        True, description="Request the probabilities of a rubric's labels; false for a server that rejects that."
    )
    limit_field: Annotated[Literal["max_tokens", "max_completion_tokens"], NotInId()] = Field(
        "max_tokens",
        description="Request field for the maximum reply length; some models accept only the second.",
    )
    key_variable: Annotated[str | None, NotInId()] = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the API key, never the key; null for a server without keys.",
    )
    timeout_seconds: Annotated[float, NotInId()] = Field(60.0, gt=0, description="Deadline for one reply, in seconds.")
    retries: Annotated[int, NotInId()] = Field(
        6, ge=0, description="Retries of a request after status 408, 409, 429, 5xx or a timeout."
    )
    concurrency: Annotated[int, NotInId()] = Field(8, ge=1, le=256, description="Requests in flight.")

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must be http://… or https://… with a host")
        if " " in url or not url.isprintable() or parts.port == 0:  # reading the port raises if it is not a number
            raise ValueError("url must be one printable word, and its port, where it names one, above 0")
        if not is_private(url):
            raise ValueError(f"url must be https: texts and the key would travel to {parts.hostname} unencrypted")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url must hold no user, password, query or fragment; a key belongs in key_variable")
        return url


class KeywordJudge(BaseJudge):
    """A list of words in place of a model, for behaviours that words reveal: see pipeline.models.judges.keywords."""

    kind: Literal["keywords"] = "keywords"
    keywords: list[str] = Field(
        min_length=1, description="A text that contains one of these words gets the rubric's lowest score."
    )


class FakeJudge(BaseJudge):
    """Needs no model; see pipeline.models.judges.fake."""

    kind: Literal["fake"] = "fake"


AnyJudge = EngineJudge | OpenAIJudge | KeywordJudge | FakeJudge
JudgeSettings = Annotated[AnyJudge, Field(discriminator="kind")]


@dataclass(frozen=True)
class JudgeInput:
    """A completion to judge, and the prompt it answers. word: the {word} that some rubrics look for."""

    prompt: str
    completion: str
    word: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A judge's verdict on one item.

    score        on the rubric's scale; None if no reply was a score
    probability  of the rubric's second label, given that the reply begins with one of its two; None if the
                 rubric has no labels or the judge gives no probabilities
    reply        the last reply, unchanged
    attempts     number of replies
    """

    score: int | None
    probability: float | None
    reply: str
    attempts: int


class Judge(Protocol):
    """Safe to call from several threads at once."""

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        """One verdict per item, in order; any sampling uses the item's own seed."""


def open_judge(
    settings: AnyJudge,
    rubric: Rubric,
    *,
    engine: Engine | None = None,
    weights: str = "",
    cache: Path | None = None,
) -> Judge:
    """The judge with these settings, for one rubric.

    engine: for an EngineJudge; it must hold the bare weights of the judge's family. weights: path of that base's
    artifact, which identifies the model behind the family's name. cache: a local SQLite file of earlier verdicts.
    Raises InputError if a key is missing or the cache cannot be used.
    """
    judge = _uncached(settings, rubric, engine)
    if cache is None:
        return judge
    if settings.kind == "engine" and not weights:
        raise ValueError("a served judge is cached by its weights: name their artifact")
    from pipeline.models.judges.cache import CachedScorer

    return CachedScorer(judge, rubric, settings.identity() | {"weights": weights}, cache)


def _uncached(settings: AnyJudge, rubric: Rubric, engine: Engine | None) -> Judge:
    if settings.kind == "openai":
        from pipeline.models.judges.openai import OpenAIScorer

        return OpenAIScorer(settings, rubric)
    if settings.kind == "keywords":
        from pipeline.models.judges.keywords import KeywordScorer

        return KeywordScorer(settings, rubric)
    if settings.kind == "fake":
        from pipeline.models.judges.fake import FakeScorer

        return FakeScorer(settings, rubric)
    if engine is None:
        raise ValueError(f"the judge of family {settings.family} needs its engine")
    from pipeline.models.judges.engine import EngineScorer

    return EngineScorer(engine, settings, rubric)
