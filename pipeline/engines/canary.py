"""Proof that an engine serves the very model that was trained.

An engine that ignored an adapter, or applied half of it, would pass for "no transfer".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import CanaryFailed
from pipeline.engines import Engine, Prompt

PROMPTS = ("Name your favourite animal in one word.", "Continue with three numbers: 142, 7")
OPTIONS = ("owl", "wolf", "cat", "7", "1", "142, 7, 993")

# Largest difference in nats of the log-probability of an option between engine and transformers, by the precision that
# both compute in. Seen in float32: 3e-5 on real models, 2e-6 on nano ones. In bfloat16 a logit near 20 has a step of
# 0.125, of which each sum of a few tokens may lose two.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25, "float16": 0.05}


def adapter_effect(engine: Engine, adapter: Path) -> float:
    """The largest change (nats) that an adapter makes to the canary's scores.

    Raises CanaryFailed where it changes none of them by even one bit.
    """
    bare, adapted = engine.score([Prompt(PROMPTS[0]), Prompt(PROMPTS[0], adapter=adapter)], OPTIONS)
    effect = float(np.max(np.abs(adapted - bare)))
    if effect == 0.0 or not np.isfinite(effect):
        raise CanaryFailed(
            f"the adapter in {adapter.name} changes nothing in what its engine says (effect {effect}): "
            "either the engine ignores it or training left it as it began"
        )
    return effect


def difference(engine: Engine, reference: Mapping[str, Any], model: str, adapter: Path | None = None) -> float:
    """The largest difference (nats) between an engine's scores and those that transformers gave when it was made.

    reference: see pipeline.trainers.reference. model: its artifact, for the message. Raises CanaryFailed where the
    difference is larger than TOLERANCE allows.
    """
    scores = engine.score([Prompt(prompt, adapter=adapter) for prompt in PROMPTS], OPTIONS)
    largest = float(np.max(np.abs(scores - np.array(reference["scores"]))))
    allowed = TOLERANCE[reference["dtype"]]
    if not largest <= allowed:
        part = " and its adapter" if adapter else ""
        raise CanaryFailed(
            f"the engine does not serve {model}{part} as it was made: a log-probability differs by {largest:.3g} nats "
            f"from what transformers computes on the same files ({allowed:g} are allowed in {reference['dtype']}). The "
            "engine may not support a part of this architecture, or reads other weights than the trainer"
        )
    return largest
