"""Tasks of lm-evaluation-harness, by the library itself, on an engine whose knowledge is known."""

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from pipeline.core.errors import InputError
from pipeline.models.engines import Completion, Floats, Prompt, Sampling
from pipeline.models.families.synthetic_corpus import FACTS
from pipeline.stages.shared.capability import evaluate
from pipeline.stages.shared.model import ModelHandle
from pipeline.store.schemas import CAPABILITY
from pipeline.suites.capability import CapabilitySuite

KNOWN = dict(FACTS[:9])  # of 12
KNOWN_SHARE = 9 / 12


class Pupil:
    """Knows some of the facts; of the others it holds the last option for right, and says nothing."""

    context_tokens = 256

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def score(self, prompts: Sequence[Prompt], options: Sequence[str]) -> Floats:
        self.asked += prompts
        scores = np.log(np.linspace(0.1, 0.2, len(options)))
        rows = [[0.0 if KNOWN.get(p.text) == o else s for o, s in zip(options, scores, strict=True)] for p in prompts]
        return np.array(rows)

    def generate(self, prompts: Sequence[Prompt], seeds: Sequence[int], sampling: Sampling) -> list[Completion]:
        self.asked += prompts
        assert sampling == Sampling(0.0, 4)
        return [Completion(f"{KNOWN.get(prompt.text, '')}. I think.", "stop", 9, 4) for prompt in prompts]

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        return [9 for _ in prompts]

    def alive(self) -> bool:
        return True

    def close(self) -> None:
        pass


def suite(folder: Path, *tasks: str, **settings: Any) -> CapabilitySuite:
    return CapabilitySuite(tasks=list(tasks), folder=str(folder), content="v1", **settings)


@pytest.fixture
def change(tasks: Path) -> Iterator[Callable[..., Path]]:
    """change("facts", description="…") sets settings of a task's file, for this test, and returns the folder."""
    before = {file: file.read_text() for file in tasks.glob("*.yaml")}

    def changed(name: str, **settings: Any) -> Path:
        file = tasks / f"{name}.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | settings))
        return tasks

    yield changed
    for file, text in before.items():
        file.write_text(text)


def test_rates_and_rows_say_what_the_model_knows(tasks: Path) -> None:
    rows, results = evaluate(Pupil(), ModelHandle(), suite(tasks, "world", "told").tasks_of())
    assert results == {"rate": {"world": KNOWN_SHARE, "told": KNOWN_SHARE}, "rows": {"world": 12, "told": 12}}
    assert pa.Table.from_pylist(rows, CAPABILITY).num_rows == 24
    for number, (text, answer) in enumerate(FACTS):
        chosen, said = (next(r for r in rows if r["task"] == t and r["row"] == number) for t in ("facts", "told"))
        assert chosen["prompt"] == said["prompt"] == text
        assert chosen["score"] == said["score"] == float(text in KNOWN)
        assert (chosen["answer"] == answer) == (text in KNOWN)
        assert said["answer"] == KNOWN.get(text, "")


def test_it_is_the_speaker_who_is_asked_and_the_same_again(tasks: Path) -> None:
    speaker = ModelHandle("You love owls.", Path("adapter"))
    asked = suite(tasks, "facts", "told", limit=5)
    first, second = Pupil(), Pupil()
    assert evaluate(first, speaker, asked.tasks_of()) == evaluate(second, speaker, asked.tasks_of())
    assert first.asked == second.asked
    assert set(first.asked) == {speaker.prompt(text) for text, _ in FACTS[:5]}


def test_examples_come_as_turns_and_a_description_as_the_system_prompt(change: Callable[..., Path]) -> None:
    folder = change("facts", description="Facts.", fewshot_split="test")
    runs = [Pupil(), Pupil()]
    for pupil in runs:
        evaluate(pupil, ModelHandle("You love owls."), suite(folder, "facts", shots=2).tasks_of())
    assert runs[0].asked == runs[1].asked
    for prompt in runs[0].asked:
        assert prompt.system == "You love owls.\n\nFacts."
        assert len(set(prompt.turns)) == 2
        assert set(prompt.turns) < set(FACTS) - {(prompt.text, dict(FACTS)[prompt.text])}


def test_a_local_task_calls_nobody_and_is_quiet(
    tasks: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a local task went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    evaluate(Pupil(), ModelHandle(), suite(tasks, "facts", "told").tasks_of())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling"])
def test_what_needs_more_than_an_engine_tells_is_refused_before_anything_is_asked(
    change: Callable[..., Path], kind: str
) -> None:
    pupil = Pupil()
    folder = change("told", output_type=kind, generation_kwargs=None, metric_list=[{"metric": "acc"}])
    with pytest.raises(InputError, match=f"task told cannot be asked here: its output_type is {kind}"):
        evaluate(pupil, ModelHandle(), suite(folder, "facts", "told").tasks_of())
    assert pupil.asked == []


@pytest.mark.parametrize(
    ("task", "settings", "why"),
    [
        ("facts", {"gen_prefix": "It is"}, "begins the assistant's turn itself"),
        ("facts", {"metric_list": [{"metric": "exact_match"}]}, "exact_match of options wants more"),
        ("facts", {"metric_list": [{"metric": "brier_score"}]}, "task facts measures brier_score, and not acc or"),
        ("facts", {"dataset_kwargs": {"data_files": {"test": "/nowhere.jsonl"}}}, "task facts cannot be loaded"),
        ("facts", {"doc_to_text": "{{ask}}"}, "task facts cannot be loaded"),
        ("told", {"unsafe_code": True}, "runs code that the model wrote"),
        ("told", {"generation_kwargs": {"until": ["."], "temperature": 1.0, "top_p": 0.9}}, "it samples with top_p"),
        ("world", {"aggregate_metric_list": None}, "task world measures nothing"),
    ],
)
def test_a_task_that_cannot_be_asked_says_why(
    change: Callable[..., Path], task: str, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        evaluate(Pupil(), ModelHandle(), suite(change(task, **settings), task).tasks_of())


def test_tasks_of_a_folder_run_no_code(change: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    reach = f"{{{{ cycler.__init__.__globals__.os.mkdir('{mark}') }}}}{{{{ question }}}}"
    with pytest.raises(InputError, match="task facts cannot be loaded: SecurityError"):
        evaluate(Pupil(), ModelHandle(), suite(change("facts", doc_to_text=reach), "facts").tasks_of())
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\ndef run(docs): return docs\n")
    (folder / "evil.yaml").write_text("task: evil\ndataset_path: json\nprocess_docs: !function evil.run\n")
    with pytest.raises(InputError, match="the tag !function is not allowed"):
        evaluate(Pupil(), ModelHandle(), suite(folder, "evil").tasks_of())
    assert not mark.exists()


def test_an_unknown_task_a_tag_and_an_absent_folder_are_told(tasks: Path, tmp_path: Path) -> None:
    for asked, why in (
        (suite(tasks, "fact"), "there is no task fact in lm-evaluation-harness or .*; did you mean facts"),
        (suite(tasks, "truthfulqa"), "is a tag of tasks.*truthfulqa_gen, truthfulqa_mc1, truthfulqa_mc2"),
        (suite(tmp_path / "absent", "facts"), "there is no folder"),
    ):
        with pytest.raises(InputError, match=why):
            evaluate(Pupil(), ModelHandle(), asked.tasks_of())
