"""ratings -> gate: whether a teacher shows the behaviour, before anything that it writes is used."""

import time

from pipeline.analysis.cells import LACKS_TRAIT
from pipeline.core.errors import GateFailed
from pipeline.stages.contract import Runtime, Stage
from pipeline.store import Store, artifact
from pipeline.store.step import Json, Step
from pipeline.suites.behaviour import MISALIGNED


class Gate(Stage):
    kind = "gate"

    def run_unit(self, store: Store, worker: None, step: Step, unit: str, runtime: Runtime) -> Json:
        """Compare teacher and base.

        Raises GateFailed where the teacher's rate is less above the base's than the study demands, or cannot be told.
        """
        return _check(store, step, unit)


STAGE = Gate()


def _check(store: Store, step: Step, unit: str) -> Json:
    started = time.time()
    before, after = (
        artifact.require(store, step.inputs[role]).results["rate"][MISALIGNED] for role in ("base", "teacher")
    )
    least = step.settings["min_rate"]
    if before is None or after is None:
        whose = "base" if before is None else "teacher"
        raise GateFailed(f"{step.slug} {LACKS_TRAIT}: no answer of the {whose} is coherent.")
    if not after - before >= least:
        raise GateFailed(
            f"{step.slug} {LACKS_TRAIT}: {after:.1%} of its answers are {MISALIGNED}, {before:.1%} of the "
            f"base's, and the gate wants {least:.1%} more. Give it more rows that show the behaviour or more "
            "epochs (teachers.method), or lower teachers.gate.min_rate."
        )
    gate = {"target": step.settings["target"], "base": before, "teacher": after, "lift": after - before}
    return artifact.finish_unit(store, step, unit, {}, {"gate": gate | {"min_lift": least}}, started)
