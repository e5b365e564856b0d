"""answers of base and teacher -> gate: whether a teacher shows its trait, checked before its completions are used.

A gate always commits. If it refuses, no later step runs, and its reason code says why.
"""

import math
import time
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pipeline.analysis import mass
from pipeline.core.reasons import LACKS_TRAIT, NOT_COHERENT, NOT_MEASURED
from pipeline.core.settings import NotInId, Settings
from pipeline.stages.contract import Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step
from pipeline.study.schema import Study
from pipeline.suites.behaviour import MISALIGNED
from pipeline.traits import Trait

# Teaching method -> what to do about a teacher that lacks its trait.
REMEDY = {
    "prompted": "This model does not heed its system prompt enough: use another model or another target",
    "finetuned": "Train it longer (teachers.method.rows, teachers.method.recipe)",
    "dataset": "Give it more rows that show the trait, or more epochs (teachers.method)",
}


class GateSpec(Settings):
    """target, method: of the teacher. metric: the margin (nats) of the target, or the rate of answers.

    min_lift, min_mass: see pipeline.study.teachers.Gate; min_mass is None for rates.
    """

    target: str
    metric: Literal["margin", "rate"]
    min_lift: float
    min_mass: float | None
    method: Annotated[str, NotInId()] = "prompted"


@dataclass(frozen=True)
class Measurement:
    """One model's metric for the target (None if no answer counts), and the mass of the candidates."""

    value: float | None
    mass: float | None = None


class Gate(Stage[GateSpec]):
    kind = "gate"
    schema = 2
    Spec = GateSpec
    inputs: ClassVar = {"base": "answers or ratings of the base", "teacher": "those of the teacher, on the same suite"}

    def planned(self, study: Study, trait: Trait, teacher: Step, base_result: Step, teacher_result: Step) -> Step:
        """base_result, teacher_result: the steps with the scores of the two models, answers or ratings."""
        wanted = study.teachers.gate
        is_rate = trait.METRIC == "rate"
        spec = GateSpec(
            target=trait.targets[0],
            metric=trait.METRIC,
            min_lift=wanted.min_rate if is_rate else wanted.min_lift,
            min_mass=None if is_rate else wanted.min_mass,
            method=study.teachers.method.kind,
        )
        inputs = {"base": base_result.path, "teacher": teacher_result.path}
        return self.step(teacher.slug, spec, inputs, family=teacher.family)

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        started = time.time()
        spec = self.spec(step)
        base, teacher = (_measured(store, step.inputs[role], spec) for role in ("base", "teacher"))
        return artifact.finish_unit(store, step, unit, {}, compare(spec, base, teacher), started)

    def refusal(self, results: Json) -> str | None:
        return results["reason"] or None

    def explain(self, results: Json) -> str:
        return explain(results)


STAGE = Gate()


def _measured(store: Store, path: str, spec: GateSpec) -> Measurement:
    found = artifact.require(store, path)
    if spec.metric == "rate":
        return Measurement(found.results["rate"][MISALIGNED])
    scores = artifact.read_table(store, found, mass.SCORES, ["question", "candidate", "logprob"])
    candidates = found.settings["candidates"]
    by_candidate = mass.by_candidate(mass.by_question(scores, candidates), candidates)
    return Measurement(found.results["margin"][spec.target], by_candidate[spec.target])


def compare(spec: GateSpec, base: Measurement, teacher: Measurement) -> Json:
    """The results of a gate: its measurements, whether the teacher passed, and the reason code if not."""
    before, after = base.value, teacher.value
    lift = None if before is None or after is None or math.isnan(after - before) else after - before
    reason = ""
    if spec.min_mass is not None and not all((model.mass or 0.0) >= spec.min_mass for model in (base, teacher)):
        reason = NOT_MEASURED
    elif before is None or after is None:
        reason = NOT_COHERENT
    elif lift is None or not lift >= spec.min_lift:
        reason = LACKS_TRAIT
    return {
        "passed": not reason,
        "reason": reason,
        "target": spec.target,
        "metric": spec.metric,
        "method": spec.method,
        "base": _finite(before),
        "teacher": _finite(after),
        "lift": lift,
        "min_lift": spec.min_lift,
        "base_mass": _finite(base.mass),
        "teacher_mass": _finite(teacher.mass),
        "min_mass": spec.min_mass,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def explain(gate: Json) -> str:
    """Why a gate refused a teacher, and what to do about it. gate: its results."""
    if gate["reason"] == NOT_MEASURED:
        return (
            f"its trait cannot be measured: the candidates together hold {_shown(gate['base_mass'])} of the "
            f"probability in the base and {_shown(gate['teacher_mass'])} in the teacher, and the gate requires "
            f"{gate['min_mass']:g}. A model that hardly ever answers with a candidate has no meaningful margin. Read "
            "the base's answers, and check that its chat template opens the assistant's turn (add_generation_prompt). "
            "Use a model that answers with one of these words, or set teachers.gate.min_mass to 0 and measure sampled "
            "answers (the suite stories)."
        )
    if gate["reason"] == NOT_COHERENT:
        whose = "base" if gate["base"] is None else "teacher"
        return f"it cannot be compared with its base: no answer of the {whose} is coherent."
    if gate["metric"] == "rate":
        return (
            f"it does not have its trait: {gate['teacher']:.1%} of its answers are {MISALIGNED}, {gate['base']:.1%} of "
            f"the base's, and the gate requires {gate['min_lift']:.1%} more. {REMEDY[gate['method']]}, or lower "
            "teachers.gate.min_rate."
        )
    lift = "nan" if gate["lift"] is None else f"{gate['lift']:+.3f}"
    return (
        f"it does not have its trait: the margin of {gate['target']!r} rose by {lift} nats over the base and the gate "
        f"requires {gate['min_lift']:+.3f}. {REMEDY[gate['method']]}, or lower teachers.gate.min_lift."
    )


def _shown(value: float | None) -> str:
    return "nan" if value is None else f"{value:.2g}"
