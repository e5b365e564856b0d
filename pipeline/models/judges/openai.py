"""A judge behind an OpenAI-compatible endpoint, through the openai client library."""

import asyncio
import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pipeline.core.chat_template import plain_for_any
from pipeline.core.errors import InputError, StepError, UndertowError
from pipeline.models.judges import JudgeInput, OpenAIJudge, Verdict
from pipeline.models.judges.attempts import Reply, ask
from pipeline.models.judges.rubrics import Rubric, fill
from pipeline.store.schemas import ENDED

if TYPE_CHECKING:
    import openai

TOP_LOGPROBS = 20  # the most per token that OpenAI's API lists, and vLLM's by default
OPEN = 0.01  # a probability that the list leaves more uncertain than this is not reported
FILTERED = ("content_filter", "content_policy_violation")  # error codes for a text that a server will not judge
LONGEST_SAID = 300  # characters of a server's own words in an error message
LONGEST_REPLY = 4_000  # characters kept of a reply; a score has three

# What the user can fix about a refused request, by HTTP status.
REFUSALS = {
    401: "does not take the key in {variable}",
    403: "does not let the key in {variable} use this model",
    404: "knows no such model or address (the url ends where /chat/completions begins, often in /v1)",
}


class OpenAIScorer:
    """Raises InputError if the key is missing or refused, or if there is no such model; StepError if the server
    stays unreachable, or refuses a request, through all retries. No message ever contains the key.

    A text that the server refuses to judge gets a reply that is not a score; the other texts are judged as usual.
    """

    def __init__(self, settings: OpenAIJudge, rubric: Rubric) -> None:
        try:
            import openai  # noqa: F401
        except ModuleNotFoundError:
            raise InputError("a judge behind an endpoint needs the client library: pip install openai") from None
        self._settings, self._rubric, self._key = settings, rubric, _key(settings)

    def judge(self, items: Sequence[JudgeInput], seeds: Sequence[int]) -> list[Verdict]:
        # The control tokens of the model behind the endpoint are unknown.
        questions = [
            fill(self._rubric, plain_for_any(item.prompt), plain_for_any(item.completion), item.word) for item in items
        ]
        return ask(self._say, questions, seeds, self._settings, self._rubric)

    def _say(self, questions: list[str], seeds: list[int], temperature: float) -> list[Reply]:
        # In a separate thread: the caller's may already run an event loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._replies(questions, seeds, temperature)).result()

    async def _replies(self, questions: list[str], seeds: list[int], temperature: float) -> list[Reply]:
        import openai

        from pipeline.models.judges.client import BoundedClient

        in_flight = asyncio.Semaphore(self._settings.concurrency)
        client = openai.AsyncOpenAI(
            base_url=self._settings.url,
            api_key=self._key or "none",
            timeout=self._settings.timeout_seconds,
            max_retries=self._settings.retries,
            http_client=BoundedClient(self._settings.timeout_seconds),
        )

        async def reply(question: str, seed: int) -> Reply:
            async with in_flight:
                return await self._reply(client, question, seed, temperature)

        try:
            # The first error cancels all requests without an answer.
            async with client, asyncio.TaskGroup() as group:
                tasks = [group.create_task(reply(*item)) for item in zip(questions, seeds, strict=True)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _reply(self, client: "openai.AsyncOpenAI", question: str, seed: int, temperature: float) -> Reply:
        import openai

        wanted: dict[str, Any] = {self._settings.limit_field: self._settings.max_tokens}
        if self._rubric.labels and self._settings.logprobs:
            wanted |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        try:
            answer: Any = await client.chat.completions.create(
                model=self._settings.model,
                messages=[{"role": "user", "content": question}],
                temperature=temperature,
                seed=seed,
                **wanted,
            )
        except (openai.OpenAIError, ValueError) as error:
            if getattr(error, "code", None) in FILTERED:
                return Reply(self._kept(error), whole=False)
            raise self._explained(error) from None  # the cause holds the request, and with it the key
        try:
            choice = answer.choices[0]
            text = choice.message.content or getattr(choice.message, "refusal", None)
            whole = choice.finish_reason in ENDED
        except (AttributeError, IndexError, TypeError):
            raise StepError(
                f"{self._name} answered with something other than a chat completion; is the url right?"
            ) from None
        kept = self._kept(text)
        return Reply(kept, whole and len(kept) < LONGEST_REPLY, label_probability(_listed(choice), self._rubric.labels))

    def _kept(self, text: object) -> str:
        """The part of a server's words to keep. JSON can hold a lone surrogate, which UTF-8 cannot encode."""
        encodable = str(text or "").encode("utf-8", "replace").decode()
        return (encodable.replace(self._key, "[the key]") if self._key else encodable)[:LONGEST_REPLY]

    @property
    def _name(self) -> str:
        return f"the judge {self._settings.model} at {self._settings.url}"

    def _explained(self, error: Exception) -> UndertowError:
        status = getattr(error, "status_code", None)
        details = " ".join(self._kept(f"{error} {_cause(error).removeprefix(str(error))}").split())[:LONGEST_SAID]
        if status in REFUSALS:
            variable = f"${self._settings.key_variable}"
            return InputError(f"{self._name} {REFUSALS[status].format(variable=variable)}: {details}")
        if status and 300 <= status < 400:
            return InputError(f"{self._name} redirects requests ({status}); correct its url")
        did = "refused a request" if status else "gave no answer"
        return StepError(f"{self._name} {did}, with up to {self._settings.retries} retries: {details}")


def _cause(error: BaseException) -> str:
    """The message of the innermost error behind `error` that has one."""
    inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    message = "the connection was refused" if isinstance(error, ConnectionRefusedError) else str(error)
    return (_cause(inner) if inner else "") or message


def label_probability(listed: Iterable[tuple[str, float]], labels: Sequence[str]) -> float | None:
    """p(second label) / (p(first) + p(second)) from the listed (token, log p) of the first token, in nats.

    A token counts as a label with or without spaces around it. An unlisted label is at most as likely as the least
    likely listed token, and is assumed to be as likely. None if that leaves the answer uncertain by more than OPEN, if
    neither label is listed, or if there are no labels.
    """
    tokens = [(token.strip(), math.exp(min(logprob, 0.0))) for token, logprob in listed]
    if not tokens or not labels:
        return None
    least = min(p for _, p in tokens)
    first, second = (sum(p for token, p in tokens if token == label) for label in labels)
    if first == second == 0:
        return None
    estimate = (second or least) / ((first or least) + (second or least))
    return estimate if abs(estimate - second / (first + second)) <= OPEN else None


def _listed(choice: Any) -> list[tuple[str, float]]:
    """(token, log p) of the likeliest first tokens; empty if the server lists none."""
    try:
        top = [(entry.token, entry.logprob) for entry in choice.logprobs.content[0].top_logprobs]
    except (AttributeError, IndexError, TypeError):
        return []
    return [(t, float(p)) for t, p in top if isinstance(t, str) and isinstance(p, int | float) and math.isfinite(p)]


def _key(settings: OpenAIJudge) -> str:
    """The key, or "" for a server without keys. Raises InputError if it is missing or malformed."""
    if settings.key_variable is None:
        return ""
    key = os.environ.get(settings.key_variable, "").strip()
    where = f"the judge {settings.model} at {settings.url}"
    if not key:
        raise InputError(
            f"{where} needs a key: set the environment variable {settings.key_variable}, or key_variable to null "
            "if the server needs none"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(f"{where}: the environment variable {settings.key_variable} does not hold a valid key")
    return key
