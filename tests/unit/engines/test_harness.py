"""What lm-evaluation-harness asks for, as prompts to an engine; without the library."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.models.engines import Completion, Floats, Prompt, Sampling
from pipeline.models.engines.harness import Harness, question

SPEAKER = Prompt("", system="You love owls.", adapter=Path("adapter"), turns=(("Hello.", "Hi."),))
USER = {"role": "user", "content": "Which one?\nAnswer:"}


@dataclass
class Request:
    args: tuple[Any, ...]


class Recorder:
    """Scores an option by its length, says its seed, and keeps what it was asked."""

    context_tokens = 100

    def __init__(self) -> None:
        self.scored: list[tuple[list[Prompt], list[str]]] = []
        self.generated: list[tuple[list[Prompt], list[int], Sampling]] = []

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        self.scored.append((list(prompts), list(options)))
        return -np.array([[len(prompt.text) + len(option) / 10 for option in options] for prompt in prompts])

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        self.generated.append((list(prompts), list(seeds), sampling))
        return [Completion(f"{seed}, no. And\n\nQuestion: what", "stop", 1, 1) for seed in seeds]

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        return [1 for _ in prompts]

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


def harness(speaker: Prompt = SPEAKER) -> tuple[Recorder, Harness]:
    engine = Recorder()
    return engine, Harness(engine, speaker, max_tokens=50)


def asked(*messages: dict[str, str], speaker: Prompt = SPEAKER) -> Prompt:
    engine, model = harness(speaker)
    model.loglikelihood([Request((model.apply_chat_template(messages), "A"))])
    return engine.scored[0][0][0]


def test_a_conversation_becomes_a_prompt_of_the_same_speaker() -> None:
    system = {"role": "system", "content": "The following are questions."}
    shot = [{"role": "user", "content": "Which two?"}, {"role": "assistant", "content": "B"}]
    assert asked(system, *shot, USER) == Prompt(
        USER["content"],
        system="You love owls.\n\nThe following are questions.",
        adapter=Path("adapter"),
        turns=(("Hello.", "Hi."), ("Which two?", "B")),
    )
    assert asked(USER, speaker=Prompt("")) == Prompt(USER["content"])
    assert asked(system, USER, speaker=Prompt("")).system == system["content"]
    assert question(harness()[1].apply_chat_template([system, *shot, USER])) == USER["content"]


def test_contexts_with_the_same_options_are_scored_in_one_call_and_answered_in_order() -> None:
    engine, model = harness()
    contexts = [model.apply_chat_template([{"role": "user", "content": "?" * n}]) for n in (1, 2, 3)]
    pairs = [(contexts[0], "A"), (contexts[0], "BB"), (contexts[1], "A"), (contexts[2], "A"), (contexts[2], "BB")]
    found = model.loglikelihood([Request(pair) for pair in pairs])
    assert [(len(prompts), options) for prompts, options in engine.scored] == [(2, ["A", "BB"]), (1, ["A"])]
    assert found == [(-(len(question(c)) + len(text) / 10), False) for c, text in pairs]


def test_the_turn_begins_with_the_answer_and_not_with_the_blank_before_it() -> None:
    engine, model = harness()
    context = model.apply_chat_template([USER])
    model.loglikelihood([Request((context, text)) for text in (" A", "B", "\nC c ")])
    assert engine.scored[0][1] == ["A", "B", "C c "]


def test_answers_are_cut_at_the_first_stop_and_drawn_as_the_request_says() -> None:
    engine, model = harness()
    context = model.apply_chat_template([USER])
    settings: list[dict[str, Any]] = [
        {"until": ["\n\n", "no"], "max_gen_toks": 10},
        {"until": "Question:", "temperature": 0.7, "do_sample": True},
        {"until": [], "temperature": 0.7, "do_sample": False, "max_new_tokens": 10},
        {"until": ["", "."], "temperature": 0.7, "max_gen_toks": 1000},
    ]
    said = model.generate_until([Request((context, one)) for one in settings])
    assert said == ["0, ", "1, no. And\n\n", "2, no. And\n\nQuestion: what", "3, no"]
    assert [(seeds, sampling) for _, seeds, sampling in engine.generated] == [
        ([0, 2], Sampling(0.0, 10)),
        ([1, 3], Sampling(0.7, 50)),
    ]
