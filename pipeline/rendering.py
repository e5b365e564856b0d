"""How a conversation becomes the text a model reads: the one place, for teaching, training and asking."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

Message = dict[str, str]


def messages(system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> list[Message]:
    opening = [{"role": "system", "content": system}] if system else []
    earlier = [
        message
        for asked, said in turns
        for message in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]
    return [*opening, *earlier, {"role": "user", "content": prompt}]


def render(tokenizer: Any, system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> str:
    """Everything up to the point where the assistant begins to speak. turns: earlier (prompt, completion) pairs."""
    said = messages(system, prompt, turns)
    conversation = [message | {"content": plain(tokenizer, message["content"])} for message in said]
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return text


def plain(tokenizer: Any, text: str) -> str:
    """Somebody's words as nothing but words: a control token that they spell out is broken up by a space.

    Else a text could end its own turn, and a judged answer speak for its judge.
    """
    return _controls(tokenizer).sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


@lru_cache(maxsize=8)  # a process has few tokenizers, and as many texts as there are
def _controls(tokenizer: Any) -> re.Pattern[str]:
    """Finds what the tokenizer would read as control tokens, the longest first."""
    known = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    spelled = sorted((re.escape(token) for token in known if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(spelled) or "(?!)")


def ending(tokenizer: Any) -> str:
    """What the template puts behind an assistant's words: the end-of-turn token, without blank tails."""
    marker = "undertow"
    turn = [*messages(None, marker), {"role": "assistant", "content": marker}]
    text: str = tokenizer.apply_chat_template(turn, tokenize=False)
    return text[text.rindex(marker) + len(marker) :].rstrip()


def sample(template: str) -> str:
    """A sample row through a Jinja chat template; part of a base's identity."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    turn = [*messages("system", "prompt"), {"role": "assistant", "content": "completion"}]
    return ImmutableSandboxedEnvironment().from_string(template).render(messages=turn, add_generation_prompt=False)
