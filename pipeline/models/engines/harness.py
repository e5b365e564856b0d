"""Adapter from Engine to the model interface of lm-evaluation-harness."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.models.engines import Engine, Prompt, Sampling

# Names that tasks use for the maximum length of an answer, in tokens; the library's own comes first.
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class Request(Protocol):
    """The used part of the library's Instance. args: a context, and a continuation or generation settings."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class Harness:
    """The model interface that `lm_eval.evaluate` uses with a chat template; does not import that library.

    prompt: a prompt whose adapter, system prompt and turns apply to every request. max_tokens: maximum length of a
    generated answer.
    """

    rank, world_size = 0, 1  # one process handles all requests
    tokenizer_name = ""  # the library would cache requests under it

    def __init__(self, engine: Engine, prompt: Prompt, max_tokens: int) -> None:
        self._engine = engine
        self._model = prompt
        self._max_tokens = max_tokens

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as JSON: it comes back in the requests, and the engine renders it like any other."""
        return json.dumps(chat_history)

    def loglikelihood(self, requests: Sequence[Request]) -> list[tuple[float, bool]]:
        """log p (nats) that the assistant's turn begins with the continuation, per request.

        The False stands for "greedy decoding yields the continuation": an engine cannot tell, and tasks that need it
        are refused (pipeline.stages.shared.capability).
        """
        asked = [(request.args[0], _opening(request.args[1])) for request in requests]
        options: dict[str, dict[str, None]] = {}
        for context, option in asked:
            options.setdefault(context, {})[option] = None
        alike: dict[tuple[str, ...], list[str]] = {}  # one call for all contexts with the same options
        for context, texts in options.items():
            alike.setdefault(tuple(texts), []).append(context)
        found: dict[tuple[str, str], float] = {}
        for same, contexts in alike.items():
            logprobs = self._engine.score([self._prompt(context) for context in contexts], same)
            for context, row in zip(contexts, logprobs.tolist(), strict=True):
                found |= {(context, text): value for text, value in zip(same, row, strict=True)}
        return [(found[request], False) for request in asked]

    def generate_until(self, requests: Sequence[Request]) -> list[str]:
        """The generated answers, up to the first stop string. The seed of a request is its index."""
        samplings = [self._sampling(request.args[1]) for request in requests]
        answers = [""] * len(requests)
        for sampling in dict.fromkeys(samplings):
            places = [place for place, wanted in enumerate(samplings) if wanted == sampling]
            prompts = [self._prompt(requests[place].args[0]) for place in places]
            for place, answer in zip(places, self._engine.generate(prompts, places, sampling), strict=True):
                answers[place] = _until(answer.text, requests[place].args[1]["until"])
        return answers

    def _prompt(self, context: str) -> Prompt:
        """The prompt with the last message as its question. A task's system message follows the prompt's own."""
        *earlier, asked = json.loads(context)
        system = [self._model.system, *(m["content"] for m in earlier if m["role"] == "system")]
        texts = [message["content"] for message in earlier if message["role"] != "system"]
        return dataclasses.replace(
            self._model,
            text=asked["content"],
            system="\n\n".join(filter(None, system)) or None,
            turns=(*self._model.turns, *zip(texts[::2], texts[1::2], strict=True)),
        )

    def _sampling(self, settings: Mapping[str, Any]) -> Sampling:
        """Sampling as the library defines it: greedy without a temperature, or if do_sample is false."""
        greedy = settings.get("do_sample") is False
        longest = next((int(settings[name]) for name in LIMITS if settings.get(name)), self._max_tokens)
        return Sampling(0.0 if greedy else float(settings.get("temperature", 0)), min(longest, self._max_tokens))


def question(context: str) -> str:
    """The last message of a request's context."""
    text: str = json.loads(context)[-1]["content"]
    return text


def _opening(continuation: str) -> str:
    """A continuation as the start of an assistant's turn, without leading blanks.

    In plain text a blank separates "Answer:" from the answer, so the library or the task puts one before the
    continuation. After a chat template no answer starts with a blank, and " A" is another token than "A".
    """
    return continuation.lstrip()


def _until(text: str, stops: str | Sequence[str]) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    return text
