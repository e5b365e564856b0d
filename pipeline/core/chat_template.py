"""Turns conversations into the tokens that a model reads. Sampling, training and evaluation all go through here."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from pipeline.core.errors import StepError

Message = dict[str, str]

# The date given to a chat template that asks for today's, so that a prompt does not change from day to day. Llama 3.1's
# template falls back to the same date.
TODAY = datetime(2024, 7, 26)

# Control tokens of common chat formats, for texts sent to a model whose tokenizer is unknown.
COMMON_CONTROLS = re.compile(
    r"<[|｜][^<>|｜\n]{1,48}[|｜]>|</?s>|\[/?(?:INST|SYSTEM_PROMPT)\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos)>"
)


def messages(system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> list[Message]:
    opening = [{"role": "system", "content": system}] if system else []
    earlier = [
        message
        for question, answer in turns
        for message in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ]
    return [*opening, *earlier, {"role": "user", "content": prompt}]


def render(tokenizer: Any, system: str | None, prompt: str, turns: Sequence[tuple[str, str]] = ()) -> str:
    """The conversation up to the start of the assistant's turn. turns: earlier (prompt, completion) pairs.

    Raises StepError if the chat template refuses the system prompt, or leaves out a part of the conversation.
    """
    from jinja2 import TemplateError

    # Some templates strip the reasoning from earlier turns. Placeholders hide it, so that rows are shown unchanged.
    hidden = [f"\ue000{number}\ue001" for number in range(len(turns))]
    masked = messages(system, prompt, [(question, mark) for (question, _), mark in zip(turns, hidden, strict=True)])
    conversation = [message | {"content": plain(tokenizer, message["content"])} for message in masked]
    try:
        text = templated(tokenizer, conversation, add_generation_prompt=True)
    except TemplateError as error:
        if system is None:
            raise
        raise StepError(
            f"the chat template refuses a system prompt ({error}): choose another model, or teachers that need none, "
            "which are fine-tuned"
        ) from None
    for message in conversation:
        if message["content"].strip() not in text:
            raise StepError(
                f"the chat template leaves out the {message['role']} message ({message['content'][:40]!r}…): choose "
                "another model, or a study that does not need this message"
            )
    for mark, (_, completion) in zip(hidden, turns, strict=True):
        before, _, after = text.partition(mark)
        text = before + plain(tokenizer, completion) + after
    return text


def plain(tokenizer: Any, text: str) -> str:
    """The text with every spelled-out control token broken up by a space.

    Otherwise a text could end its own turn, and a judged answer could speak for its judge.
    """
    return _broken_up(_controls(tokenizer), text)


def plain_for_any(text: str) -> str:
    """Like `plain`, for a model whose tokenizer is unknown: breaks up the control tokens of common chat formats."""
    return _broken_up(COMMON_CONTROLS, text)


def ending(tokenizer: Any) -> str:
    """What the template writes after the assistant's content, up to the control token that ends the turn."""
    suffix = _turn_suffix(tokenizer)
    control = _controls(tokenizer).search(suffix)
    return suffix[: control.end()] if control else suffix


def end_token(tokenizer: Any) -> int | None:
    """The id of the control token that ends an assistant's turn; None if the template writes none."""
    control = _controls(tokenizer).search(_turn_suffix(tokenizer))
    return int(tokenizer.convert_tokens_to_ids(control[0])) if control else None


def continuations(tokenizer: Any, prompts: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text after its rendered prompt, as if both were tokenised together.

    Tokenised by itself, a text may begin with another token: SentencePiece puts a space before it.
    Raises StepError if a token spans the boundary and the text cannot be separated from the prompt.
    """
    pairs = [(_tail(tokenizer, prompt), text) for prompt, text in zip(prompts, texts, strict=True)]
    tails, unique = list({tail: None for tail, _ in pairs}), list(dict.fromkeys(pairs))
    opened = dict(zip(tails, tokens(tokenizer, tails), strict=True))
    whole = tokens(tokenizer, [tail + text for tail, text in unique])
    continued = {}
    for (tail, text), ids in zip(unique, whole, strict=True):
        begins = ids[: len(opened[tail])] == opened[tail]
        continued[tail, text] = ids[len(opened[tail]) :] if begins else _merged(tokenizer, tail, text, ids)
    return [continued[pair] for pair in pairs]


def tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of each text, without added special tokens."""
    if not texts:
        return []  # a tokenizer reads an empty list as one empty text
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def decode(tokenizer: Any, before: int, ids: Sequence[int]) -> str:
    """The text of generated tokens, without special tokens. before: the last token of the prompt.

    A token's text can depend on the token before it: SentencePiece drops the space of the first.
    """
    special = _special_ids(tokenizer)
    words = [token for token in ids if token not in special]
    alone, first, both = (decoded(tokenizer, ids) for ids in (words, [before], [before, *words]))
    text = both.removeprefix(first) if both.startswith(first) else alone
    # The tokenizer may put a space before every text; the model did not generate that one.
    adds_space = text != alone and continuations(tokenizer, [first], [alone]) == [words]
    return alone if adds_space else text


def sample(template: str) -> str:
    """A sample row rendered by a Jinja chat template; part of a base's identity."""
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


def _turn_suffix(tokenizer: Any) -> str:
    """What the template writes after the assistant's content, without trailing whitespace."""
    marker = "undertow"
    turn = [*messages(None, marker), {"role": "assistant", "content": marker}]
    text = templated(tokenizer, turn, add_generation_prompt=False)
    return text[text.rindex(marker) + len(marker) :].rstrip()


@lru_cache(maxsize=8)  # a process uses few tokenizers, for many texts
def _controls(tokenizer: Any) -> re.Pattern[str]:
    """Matches every control token of the tokenizer, the longest first.

    These are its special tokens, and any other added token that the chat template itself writes between turns: some
    models do not mark the end of a turn as special.
    """
    added = list(tokenizer.added_tokens_decoder.values())
    frame = _frame(tokenizer)
    known = [token.content for token in added if token.special or token.content in frame]
    spelled = sorted((re.escape(token) for token in known if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(spelled) or "(?!)")


def _frame(tokenizer: Any) -> str:
    """A rendered conversation of several turns with placeholder contents; "" if the template rejects it."""
    turns = [(mark, mark) for mark in ("undertow-a", "undertow-b")]
    try:
        return templated(tokenizer, messages(None, "undertow-c", turns), add_generation_prompt=False)
    except Exception:  # a template may raise anything
        return ""


@lru_cache(maxsize=8)
def _special_ids(tokenizer: Any) -> frozenset[int]:
    return frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)


def _tail(tokenizer: Any, prompt: str) -> str:
    """The prompt from its last control token on: text before that does not affect the tokens that follow."""
    starts = [found.start() for found in _controls(tokenizer).finditer(prompt)]
    return prompt[starts[-1] :] if starts else prompt


def _merged(tokenizer: Any, tail: str, text: str, whole: Sequence[int]) -> list[int]:
    """The tokens of the text alone, where its first character shares a token with the end of the prompt."""
    (opened,), (alone,) = tokens(tokenizer, [tail]), tokens(tokenizer, [text])
    if decoded(tokenizer, [*opened, *alone]) != decoded(tokenizer, whole):
        raise StepError(
            f"the tokenizer makes one token of the end of the prompt {tail[-20:]!r} and the beginning of "
            f"{text[:40]!r}: such a text cannot be trained on or scored with this model"
        )
    return alone


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
