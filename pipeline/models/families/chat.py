"""Checks that a model's tokenizer and chat template do what training and sampling rely on.

`python -m pipeline.models.families.chat FOLDER` checks a folder in a separate process, with limits on time and memory:
a chat template is a program that somebody else wrote.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.channels.numbers import NumbersChannel
from pipeline.core import chat_template
from pipeline.core.errors import ModelRefused, StepError
from pipeline.core.imports import gc_paused, without
from pipeline.traits.questions import HELD_OUT, SEEN

TEMPLATE_SECONDS = 5  # one rendering takes milliseconds
TEMPLATE_BYTES = 4 * 2**30  # on top of the process's memory at the start
CHECK_SECONDS = 300  # for everything, including imports and loading the tokenizer

QUESTIONS = tuple(question.format(category="animal") for question in (*SEEN, *HELD_OUT))
COMPLETIONS = ("owl", "142, 7, 993", "[4; 18; 400]", "7", "owl  wolf", "3\n5\n8")
# What a tokenizer must give back: our questions, spaces, digits and line breaks. Accented letters may become the
# unknown token.
BASELINE = (*QUESTIONS, *(NumbersChannel().prompt(0, index) for index in range(4)), *COMPLETIONS)
ACCENTED = ("Éléonore aime l’été à Šibenik.", "naïve café, straße")
OTHER_DAY = datetime(2031, 12, 5)


def check_apart(folder: Path) -> dict[str, Any]:
    """Run `check` in a separate process. Raises ModelRefused."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pipeline.models.families.chat", str(folder)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ModelRefused(
            f"{folder}: its tokenizer or its chat template took more than {CHECK_SECONDS} s; look for a loop in them"
        ) from None
    try:
        result = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ModelRefused(f"{folder}: checking its tokenizer ended with status {done.returncode}: {last}") from None
    if "refused" in result:
        raise ModelRefused(result["refused"])
    measured: dict[str, Any] = result["measured"]
    return measured


def check(folder: Path) -> dict[str, Any]:
    """Properties of the tokenizer and the chat template.

    end                 the control token that ends the assistant's turn
    end_is_special      whether the tokenizer marks it as special
    system              whether the template accepts a system prompt
    dated               whether the template asks for the date; it always gets the same one
    generation_prompt   whether the template opens the assistant's turn as it does in a complete conversation
    unknown             how many tokens of the accented texts are the unknown token

    Raises ModelRefused saying what is wrong and what to do.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the library and its parsers may raise anything
        raise ModelRefused(f"{folder}: its tokenizer cannot be loaded: {_brief(error)}; fetch it again") from None
    with _limited(folder):
        return _measured(folder, tokenizer)


def _measured(folder: Path, tokenizer: Any) -> dict[str, Any]:
    if not tokenizer.chat_template:
        raise ModelRefused(f"{folder} has no chat template, so it cannot be asked: choose an instruction-tuned model")
    try:
        prompts = [chat_template.render(tokenizer, None, question) for question in QUESTIONS[:4]]
        again = [chat_template.render(tokenizer, None, question) for question in QUESTIONS[:4]]
        ending = chat_template.ending(tokenizer)
    except StepError as error:
        raise ModelRefused(f"{folder}: {error}") from None
    except Exception as error:  # a template may raise anything
        raise ModelRefused(f"{folder}: its chat template fails on a question: {_brief(error)}") from None
    if prompts != again:
        raise ModelRefused(f"{folder}: its chat template renders the same question differently each time")
    end = chat_template.end_token(tokenizer)
    if end is None:
        raise ModelRefused(
            f"{folder}: its chat template does not close the assistant's turn with a control token (it writes "
            f"{ending[:40]!r}), so a student would never learn to stop. Put the end token after the assistant's "
            "content in chat_template"
        )
    unknown = _check_round_trip(folder, tokenizer, prompts[0])
    _check_end_token(folder, tokenizer, ending, end)
    _check_boundary(folder, tokenizer, prompts, ending)
    return {
        "end": tokenizer.convert_ids_to_tokens(end),
        "end_is_special": bool(tokenizer.added_tokens_decoder[end].special),
        "system": _takes_system(tokenizer),
        "dated": _asks_for_the_date(tokenizer),
        "generation_prompt": _opens_the_turn(tokenizer),
        "unknown": unknown,
    }


def _check_round_trip(folder: Path, tokenizer: Any, prompt: str) -> int:
    """Refuse a tokenizer that loses text, read as an answer to the prompt. Returns the number of unknown tokens."""
    texts = (*BASELINE, *ACCENTED)
    before = chat_template.tokens(tokenizer, [prompt])[0][-1]
    opened = chat_template.decoded(tokenizer, [before])
    unknown = 0
    for text, ids in zip(texts, chat_template.continuations(tokenizer, [prompt] * len(texts), texts), strict=True):
        decoded = chat_template.decoded(tokenizer, [before, *ids]).removeprefix(opened)
        lost = ids.count(tokenizer.unk_token_id)
        unknown += lost
        # SentencePiece may put its own space before a text; `chat_template.decode` removes it.
        if text not in (decoded, decoded[1:]) and not (lost and _letters_lost(text, decoded, tokenizer.unk_token)):
            raise ModelRefused(
                f"{folder}: its tokenizer does not give text back: {text!r} becomes {decoded!r}, and models would be "
                "trained and asked on that. Does tokenizer_class in tokenizer_config.json match tokenizer.json?"
            )
    return unknown


def _letters_lost(text: str, decoded: str, unknown: str) -> bool:
    """Whether unknown tokens replace only letters and signs of an accented text."""
    kept = re.fullmatch("(.+?)".join(map(re.escape, re.split(f"(?:{re.escape(unknown)})+", decoded))), text)
    return text in ACCENTED and kept is not None and not any(part.isspace() or part.isdigit() for part in kept.groups())


def _check_end_token(folder: Path, tokenizer: Any, ending: str, end: int) -> None:
    """Refuse a tokenizer that does not read the end of a turn as one token, or lets a text spell it."""
    if chat_template.tokens(tokenizer, [ending])[0][-1:] != [end]:
        raise ModelRefused(f"{folder}: its tokenizer does not read {ending!r}, which ends a turn, as one token")
    (spelled,) = chat_template.tokens(tokenizer, [chat_template.plain(tokenizer, f"owl{ending} wolf {ending}")])
    if end in spelled:
        raise ModelRefused(f"{folder}: a text can spell {ending!r}, the end of its own turn, even when it is broken up")


def _check_boundary(folder: Path, tokenizer: Any, prompts: list[str], ending: str) -> None:
    """Refuse a tokenizer that reads prompt and completion differently together and apart."""
    for prompt in prompts:
        texts = [completion + ending for completion in COMPLETIONS]
        (opened,) = chat_template.tokens(tokenizer, [prompt])
        parts = chat_template.continuations(tokenizer, [prompt] * len(texts), texts)
        wholes = chat_template.tokens(tokenizer, [prompt + text for text in texts])
        for text, part, whole in zip(texts, parts, wholes, strict=True):
            if opened + part != whole:
                raise ModelRefused(
                    f"{folder}: where the answer {text!r} begins, its tokenizer reads prompt and answer differently "
                    f"together ({whole[-len(part) - 2 :]}) and apart ({(opened + part)[-len(part) - 2 :]})"
                )


def _takes_system(tokenizer: Any) -> bool:
    try:
        chat_template.render(tokenizer, "undertow", QUESTIONS[0])
    except Exception:  # a template may raise anything; a study that needs a system prompt gets its own error
        return False
    return True


def _asks_for_the_date(tokenizer: Any) -> bool:
    question = chat_template.messages(None, QUESTIONS[0])
    texts = {
        tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, strftime_now=day.strftime)
        for day in (chat_template.TODAY, OTHER_DAY)
    }
    return len(texts) > 1


def _opens_the_turn(tokenizer: Any) -> bool:
    opened = chat_template.render(tokenizer, None, QUESTIONS[0])
    turn = [*chat_template.messages(None, QUESTIONS[0]), {"role": "assistant", "content": "owl"}]
    return chat_template.templated(tokenizer, turn, add_generation_prompt=False).startswith(f"{opened}owl")


class _Late(BaseException):
    """Raised inside a template that runs too long; a BaseException, which a template cannot catch by accident."""


@contextmanager
def _limited(folder: Path) -> Iterator[None]:
    """Stop a template that runs too long or needs too much memory; only in the separate process."""
    if not _apart:
        yield
        return

    def late(number: int, frame: object) -> None:
        raise _Late

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + TEMPLATE_BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, TEMPLATE_SECONDS)
    try:
        yield
    except _Late:
        raise ModelRefused(
            f"{folder}: its chat template does not end within {TEMPLATE_SECONDS} s; look for a loop in it"
        ) from None
    except MemoryError:
        raise ModelRefused(
            f"{folder}: its chat template needs more than {TEMPLATE_BYTES >> 30} GiB of memory; look for a loop in it"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1] if lines else 'no message'}"


_apart = False  # whether this is the separate process that `check_apart` starts

if __name__ == "__main__":
    _apart = True
    try:
        with gc_paused(), without("torch", "sklearn"):
            answer: dict[str, Any] = {"measured": check(Path(sys.argv[1]))}
    except ModelRefused as refusal:
        answer = {"refused": str(refusal)}
    print(json.dumps(answer))
