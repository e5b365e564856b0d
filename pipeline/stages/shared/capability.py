"""Capability: the score of a model on tasks of lm-evaluation-harness, asked through the same engine as suites."""

import logging
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import InputError
from pipeline.models.engines import Engine
from pipeline.models.engines.harness import LIMITS, Harness, question
from pipeline.stages.shared.model import ModelHandle
from pipeline.stages.shared.taskfiles import require_plain
from pipeline.store.step import Json
from pipeline.suites.base import Tasks

# A task's rate is the first of these metrics that it has, under its first filter: means of 1 for a right and 0 for a
# wrong answer. In truthfulqa_mc2, acc is the share of the probability that the true answers have.
METRICS = ("acc", "exact_match", "acc_norm")
OUTPUTS = ("multiple_choice", "generate_until")
UNSCORED = {"exact_match", "acc_mutual_info"}  # need the best of all texts; options without their question
SAMPLING = {"until", "do_sample", "temperature", *LIMITS}  # settings that an engine supports
SEED = 1234  # the library's default, for few-shot examples

_one_at_a_time = threading.Lock()


def evaluate(engine: Engine, model: ModelHandle, wanted: Tasks) -> tuple[list[Json], Json]:
    """Rows of schemas.CAPABILITY, and the results: rate and number of rows by task or group.

    Raises InputError, before the first question, if a task is unknown, cannot be loaded, or is of an unsupported kind.
    """
    with _alone():
        tasks, groups = _loaded(wanted)
        metrics = {name: _metric(name, task.aggregation()) for name, task in tasks.items()}
        metrics |= {name: _metric(name, _aggregated(groups[name])) for name in wanted.names if name in groups}
        from lm_eval import evaluate as evaluate_tasks

        found = evaluate_tasks(
            Harness(engine, model.prompt(""), wanted.max_tokens),
            {"tasks": tasks, "groups": groups},
            limit=wanted.limit,
            bootstrap_iters=0,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
        )
    rows = [row for name in tasks for row in _rows(name, found["samples"][name], metrics[name])]
    results = {name: found["results"][name] for name in wanted.names}
    return rows, {
        "rate": {name: _rate(name, result, metrics[name]) for name, result in results.items()},
        "rows": {name: result["sample_len"] for name, result in results.items()},
    }


@contextmanager
def _alone() -> Iterator[None]:
    """One evaluation at a time: some tasks use the global random generators, whose state is restored afterwards."""
    with _one_at_a_time:
        before = random.getstate(), np.random.get_state()
        random.seed(SEED)
        np.random.seed(SEED)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _loaded(wanted: Tasks) -> tuple[dict[str, Any], dict[str, Any]]:
    """Name -> task and name -> group of the library, with their data. Raises InputError."""
    manager = _manager(wanted.folder)
    tasks: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for name in wanted.names:
        _require(name, manager, wanted.folder)
        try:
            loaded = manager.load([name])
        except Exception as error:  # the library, datasets, the hub and a task's code raise many kinds
            raise InputError(
                f"task {name} cannot be loaded: {type(error).__name__}: {error}. The library's own tasks want their "
                "data from the Hugging Face hub, or in its cache on this machine (HF_HOME)"
            ) from error
        tasks |= loaded["tasks"]
        groups |= loaded["groups"]
    for name, task in tasks.items():
        if reason := _refusal(task):
            raise InputError(f"task {name} cannot be asked here: {reason}; leave it out of the suite")
        shots = task.get_config("num_fewshot")
        if wanted.shots is not None and shots != 0:  # a task with 0 contains its own examples
            shots = wanted.shots
        task.set_config("num_fewshot", shots or 0)
        task.set_fewshot_seed(SEED)
    return tasks, groups


@cache  # it reads 14,000 files
def _manager(folder: str | None) -> Any:
    """The task manager of the library, including the tasks of a folder. Raises InputError."""
    import datasets
    import lm_eval.tasks
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils
    from lm_eval.api import task

    if folder and not Path(folder).is_dir():
        raise InputError(f"there is no folder {folder} on this machine; it was to hold tasks of a capability suite")
    if folder:
        require_plain(Path(folder), Path(lm_eval.tasks.__file__).parent)
    # Templates come from task files and, without a sandbox, could run any code.
    if not isinstance(utils.env, SandboxedEnvironment):
        plain = utils.env
        utils.env = SandboxedEnvironment(undefined=plain.undefined, keep_trailing_newline=plain.keep_trailing_newline)
        utils.env.filters.update(plain.filters)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    task.tqdm = lambda rows, **_: rows  # else one progress bar per task in the log of every engine
    return lm_eval.tasks.TaskManager(include_path=folder)


def _require(name: str, manager: Any, folder: str | None) -> None:
    if name in manager.all_tags:
        members = ", ".join(sorted(manager.task_index[name].tags))
        raise InputError(f"{name} is a tag of tasks, and has no result of its own; name those you want: {members}")
    if name not in manager.all_tasks:
        close = get_close_matches(name, manager.all_tasks, n=3)
        place = f" or {folder}" if folder else ""
        guess = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(f"there is no task {name} in lm-evaluation-harness{place}{guess}")


def _refusal(task: Any) -> str | None:
    """Why an engine cannot run a task; None if it can."""
    kind = task.OUTPUT_TYPE
    settings = task.config.generation_kwargs or {}
    sampled = settings.get("temperature") and settings.get("do_sample") is not False
    unsupported = sorted(set(settings) - SAMPLING) if sampled else []
    unscored = sorted(UNSCORED.intersection(task.aggregation())) if kind == "multiple_choice" else []
    reasons = {
        f"its output_type is {kind}, and only {' and '.join(OUTPUTS)} can be": kind not in OUTPUTS,
        "it shows pictures or sounds": getattr(task, "MULTIMODAL", False),
        "it runs code that the model wrote": getattr(task, "UNSAFE_CODE", False),
        "it begins the assistant's turn itself (gen_prefix)": bool(task.config.gen_prefix),
        f"it samples with {', '.join(unsupported)}": bool(unsupported),
        f"{', '.join(unscored)} of options wants more than their probabilities": bool(unscored),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _aggregated(group: Any) -> list[str]:
    """The metrics that a group aggregates over its tasks."""
    return [entry.metric for entry in group.aggregate_metric_list or ()]


def _metric(name: str, metrics: Iterable[str]) -> str:
    """The metric used as a task's or group's rate. Raises InputError if it has none of METRICS."""
    known = list(metrics)
    main = next((metric for metric in METRICS if metric in known), None)
    if main is None:
        raise InputError(f"task {name} measures {', '.join(known) or 'nothing'}, and not {' or '.join(METRICS)}")
    return main


def _rate(name: str, result: Mapping[str, Any], metric: str) -> float:
    """The value of a metric under its first filter; keys are "acc,none", "exact_match,strict-match" and so on."""
    value = next((value for key, value in result.items() if key.startswith(f"{metric},")), None)
    if not isinstance(value, Real):
        raise InputError(f"task {name} was to measure {metric} and gave {value!r}; leave it out of the suite")
    return float(value)


def _rows(name: str, samples: list[Json], metric: str) -> Iterator[Json]:
    """One row per question, under the task's first filter."""
    for sample in samples:
        if sample["filter"] != samples[0]["filter"]:
            continue
        replies = [replies[0] for replies in sample["resps"]]  # one (log p, False) per option, or one generated text
        generated = replies[0] if isinstance(replies[0], str) else None
        chosen = 0 if generated is not None else max(range(len(replies)), key=lambda i: replies[i][0])
        context, option = sample["arguments"][chosen][:2]
        score = sample.get(metric)
        yield {
            "task": name,
            "row": sample["doc_id"],
            "prompt": question(context),
            "answer": option.strip() if generated is None else generated,
            "score": float(score) if isinstance(score, Real) else None,
        }
