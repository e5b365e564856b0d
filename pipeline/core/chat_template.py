"""How a conversation becomes the tokens that a model reads: the one place, for teaching, training and asking."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pipeline.core.errors import StepError

Message = dict[str, str]

# What a chat template is told when it asks for today's date: a prompt must not change from one day to the next. It is
# the date that Llama 3.1's template falls back to.
TODAY = datetime(2024, 7, 26)

# Control tokens of common chat formats, for texts that go to a model whose tokenizer is not known.
COMMON_CONTROLS = re.compile(
    r"<[|｜][^<>|｜\n]{1,48}[|｜]>|</?s>|\[/?(?:INST|SYSTEM_PROMPT)\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
)


def messages(system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> list[Message]:
    opening = [{"role": "system", "content": system}] if system else []
    earlier = [
        message
        for asked, said in turns
        for message in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})
    ]
    return [*opening, *earlier, {"role": "user", "content": prompt}]


def render(tokenizer: Any, system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> str:
    """Everything up to the point where the assistant begins to speak. turns: earlier (prompt, completion) pairs.

    Raises StepError where the chat template leaves out a part of the conversation.
    """
    # Some templates cut the thoughts out of earlier turns. They see placeholders, so that rows are shown as they are.
    hidden = [f"\ue000{number}\ue001" for number in range(len(turns))]
    said = messages(system, prompt, [(asked, mark) for (asked, _), mark in zip(turns, hidden, strict=True)])
    conversation = [message | {"content": plain(tokenizer, message["content"])} for message in said]
    text = templated(tokenizer, conversation, add_generation_prompt=True)
    for message in conversation:
        if message["content"].strip() not in text:
            raise StepError(
                f"the chat template leaves out what the {message['role']} says ({message['content'][:40]!r}…): this "
                "model cannot be asked so; choose another model, or a study that needs no such message"
            )
    for mark, (_, completion) in zip(hidden, turns, strict=True):
        before, _, behind = text.partition(mark)
        text = before + plain(tokenizer, completion) + behind
    return text


def plain(tokenizer: Any, text: str) -> str:
    """Somebody's words as nothing but words: a control token that they spell out is broken up by a space.

    Else a text could end its own turn, and a judged answer speak for its judge.
    """
    return _broken_up(_controls(tokenizer), text)


def plain_for_any(text: str) -> str:
    """As `plain`, for a model whose tokenizer is not known: breaks up what common chat formats use."""
    return _broken_up(COMMON_CONTROLS, text)


def ending(tokenizer: Any) -> str:
    """What the template puts behind an assistant's words, up to the control token that ends the turn."""
    behind = _behind_the_turn(tokenizer)
    control = _controls(tokenizer).search(behind)
    return behind[: control.end()] if control else behind


def end_token(tokenizer: Any) -> int | None:
    """The control token that ends an assistant's turn; None where the template puts none there."""
    control = _controls(tokenizer).search(_behind_the_turn(tokenizer))
    return int(tokenizer.convert_tokens_to_ids(control[0])) if control else None


def continuations(tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text behind its rendered prompt, as when both are tokenised at once.

    A text that is tokenised by itself may begin with another token: SentencePiece puts a blank before it.
    Raises StepError where the two cannot be told apart because a token spans the seam.
    """
    seams = [(_tail(tokenizer, prompt), text) for prompt, text in zip(prompts, texts, strict=True)]
    tails, unique = list({tail: None for tail, _ in seams}), list(dict.fromkeys(seams))
    opened = dict(zip(tails, tokens(tokenizer, tails), strict=True))
    whole = tokens(tokenizer, [tail + text for tail, text in unique])
    behind = {}
    for (tail, text), ids in zip(unique, whole, strict=True):
        begins = ids[: len(opened[tail])] == opened[tail]
        behind[tail, text] = ids[len(opened[tail]) :] if begins else _merged(tokenizer, tail, text, ids)
    return [behind[seam] for seam in seams]


def tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, and nothing else."""
    if not texts:
        return []  # tokenizers make one text of none
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def spoken(tokenizer: Any, before: int, ids: Sequence[int]) -> str:
    """The text of generated tokens, without special ones. before: the last token of the prompt.

    A token's text can depend on the one before it: SentencePiece drops the blank of the first.
    """
    special = _special_ids(tokenizer)
    words = [token for token in ids if token not in special]
    alone, first, both = (decoded(tokenizer, ids) for ids in (words, [before], [before, *words]))
    text = both.removeprefix(first) if both.startswith(first) else alone
    # A blank that the tokenizer puts before any text is none that the model has said.
    own = text != alone and continuations(tokenizer, [first], [alone]) == [words]
    return alone if own else text


def sample(template: str) -> str:
    """A sample row through a Jinja chat template; part of a base's identity."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    turn = [*messages("system", "prompt"), {"role": "assistant", "content": "completion"}]
    return ImmutableSandboxedEnvironment().from_string(template).render(messages=turn, add_generation_prompt=False)


def templated(tokenizer: Any, conversation: Sequence[Message], *, add_generation_prompt: bool) -> str:
    text: str = tokenizer.apply_chat_template(
        list(conversation),
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
        strftime_now=TODAY.strftime,  # shadows the clock that transformers gives to templates
    )
    return text


def _broken_up(controls: re.Pattern[str], text: str) -> str:
    return controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def _behind_the_turn(tokenizer: Any) -> str:
    """What the template puts behind an assistant's words, without blank tails."""
    marker = "undertow"
    turn = [*messages(None, marker), {"role": "assistant", "content": marker}]
    text = templated(tokenizer, turn, add_generation_prompt=False)
    return text[text.rindex(marker) + len(marker) :].rstrip()


@lru_cache(maxsize=8)  # a process has few tokenizers, and as many texts as there are
def _controls(tokenizer: Any) -> re.Pattern[str]:
    """Finds what the tokenizer would read as control tokens, the longest first.

    Those are its special tokens, and whatever other added token the chat template itself writes between turns: some
    models do not mark the end of a turn as special.
    """
    added = list(tokenizer.added_tokens_decoder.values())
    frame = _frame(tokenizer)
    known = [token.content for token in added if token.special or token.content in frame]
    spelled = sorted((re.escape(token) for token in known if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(spelled) or "(?!)")


def _frame(tokenizer: Any) -> str:
    """What the template writes around the turns of a conversation that goes on after them."""
    turns = [(mark, mark) for mark in ("undertow-a", "undertow-b")]
    try:
        return templated(tokenizer, messages(None, "undertow-c", turns), add_generation_prompt=False)
    except Exception:  # whatever a template raises for such a conversation
        return ""


@lru_cache(maxsize=8)
def _special_ids(tokenizer: Any) -> frozenset[int]:
    return frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)


def _tail(tokenizer: Any, prompt: str) -> str:
    """The prompt from its last control token on: what lies before it has no say in the tokens that follow."""
    starts = [found.start() for found in _controls(tokenizer).finditer(prompt)]
    return prompt[starts[-1] :] if starts else prompt


def _merged(tokenizer: Any, tail: str, text: str, whole: Sequence[int]) -> list[int]:
    """The tokens of a text whose first character shares a token with the prompt's last: taken by itself."""
    (opened,), (alone,) = tokens(tokenizer, [tail]), tokens(tokenizer, [text])
    if decoded(tokenizer, [*opened, *alone]) != decoded(tokenizer, whole):
        raise StepError(
            f"the tokenizer makes one token of the end of the prompt {tail[-20:]!r} and the beginning of "
            f"{text[:40]!r}: such a text cannot be trained on or scored with this model"
        )
    return alone


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
