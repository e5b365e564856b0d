"""An engine as lm-evaluation-harness sees a model: its requests become prompts to score and to answer."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.engines import Engine, Prompt, Sampling

# What a task calls its longest answer, in tokens: the library's own name first.
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class Request(Protocol):
    """What is used of the library's Instance. args: a context, and the continuation or the generation settings."""

    @property
    def args(self) -> tuple[Any, ...]: ...


class Harness:
    """All that `lm_eval.evaluate` uses of a model when it applies the chat template; needs no part of that library.

    speaker: a prompt of the model that is asked; its adapter, system prompt and turns come into every request.
    max_tokens: longest generated answer.
    """

    rank, world_size = 0, 1  # one process sees all requests
    tokenizer_name = ""  # the library would cache requests under it

    def __init__(self, engine: Engine, speaker: Prompt, max_tokens: int) -> None:
        self._engine = engine
        self._speaker = speaker
        self._max_tokens = max_tokens

    def apply_chat_template(self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as JSON: requests bring it back, and the engine renders it as it does any other."""
        return json.dumps(chat_history)

    def loglikelihood(self, requests: Sequence[Request]) -> list[tuple[float, bool]]:
        """log p (nats) that the assistant's turn begins with the continuation, for each request.

        The False stands where the library says whether greedy decoding gives the continuation: an engine does not
        know, and tasks that ask for it are refused (pipeline.stages.shared.capability).
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
        """What the model says, up to the first stop string. A request's seed is its place among them."""
        told = [self._sampling(request.args[1]) for request in requests]
        said = [""] * len(requests)
        for sampling in dict.fromkeys(told):
            places = [place for place, one in enumerate(told) if one == sampling]
            prompts = [self._prompt(requests[place].args[0]) for place in places]
            for place, answer in zip(places, self._engine.generate(prompts, places, sampling), strict=True):
                said[place] = _until(answer.text, requests[place].args[1]["until"])
        return said

    def _prompt(self, context: str) -> Prompt:
        """The speaker, asked the last message. A task's own system message comes behind the speaker's."""
        *earlier, asked = json.loads(context)
        system = [self._speaker.system, *(m["content"] for m in earlier if m["role"] == "system")]
        texts = [message["content"] for message in earlier if message["role"] != "system"]
        return dataclasses.replace(
            self._speaker,
            text=asked["content"],
            system="\n\n".join(filter(None, system)) or None,
            turns=(*self._speaker.turns, *zip(texts[::2], texts[1::2], strict=True)),
        )

    def _sampling(self, settings: Mapping[str, Any]) -> Sampling:
        """As the library reads them: greedy without a temperature, or where do_sample is false."""
        greedy = settings.get("do_sample") is False
        longest = next((int(settings[name]) for name in LIMITS if settings.get(name)), self._max_tokens)
        return Sampling(0.0 if greedy else float(settings.get("temperature", 0)), min(longest, self._max_tokens))


def question(context: str) -> str:
    """What the model was asked last in a request's context."""
    text: str = json.loads(context)[-1]["content"]
    return text


def _opening(continuation: str) -> str:
    """A continuation as the assistant's turn opens with it.

    In plain text a blank parts "Answer:" from what follows, so the library, or the task itself, writes it before the
    continuation. A chat template ends where the answer begins: no assistant opens with a blank, and " A" is another
    token than "A".
    """
    return continuation.lstrip()


def _until(text: str, stops: str | Sequence[str]) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0] if stop else text
    return text
