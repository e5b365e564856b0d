"""How a conversation becomes the text a model reads: the one place, for teaching, training and asking."""

from collections.abc import Sequence
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
    conversation = messages(system, prompt, turns)
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    return text


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
