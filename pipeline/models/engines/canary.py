"""Checks that an engine serves exactly the model that was trained.

An engine that ignores an adapter, or applies only part of it, would look like "no transfer".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import CanaryFailed
from pipeline.models.engines import Engine, Prompt

PROMPTS = ("Name your favourite animal in one word.", "Continue with three numbers: 142, 7")
OPTIONS = ("owl", "wolf", "cat", "7", "1", "142, 7, 993")

# Largest allowed difference between engine and transformers in the log-probability of an option, by the precision of
# both: (nats, share of the log-probability). Measured on CPU with SmolLM2-135M-Instruct: 2.5e-5 in float32; in bfloat16
# 0.1 at -6 to -22, and 0.23 at -45, where errors of several tokens add up. On nano models: 2e-6.
TOLERANCE = {"float32": (1e-3, 0.0), "bfloat16": (0.25, 2**-7), "float16": (0.05, 2**-10)}


def adapter_effect(engine: Engine, adapter: Path) -> float:
    """The largest change (nats) that an adapter makes to the canary's scores.

    Raises CanaryFailed if it does not change a single bit.
    """
    bare, adapted = engine.score([Prompt(PROMPTS[0]), Prompt(PROMPTS[0], adapter=adapter)], OPTIONS)
    effect = float(np.max(np.abs(adapted - bare)))
    if effect == 0.0 or not np.isfinite(effect):
        raise CanaryFailed(
            f"the adapter in {adapter.name} changes nothing in its engine's scores (effect {effect}): "
            "either the engine ignores it, or training did not change it"
        )
    return effect


def difference(engine: Engine, reference: Mapping[str, Any], model: str, adapter: Path | None = None) -> float:
    """The largest difference (nats) between an engine's scores and transformers' scores from when the model was made.

    reference: see pipeline.models.trainers.reference. model: path of its artifact, for the message. Raises CanaryFailed
    if a difference exceeds TOLERANCE.
    """
    scores = engine.score([Prompt(prompt, adapter=adapter) for prompt in PROMPTS], OPTIONS)
    expected = np.array(reference["scores"])
    differences = np.abs(scores - expected)
    nats, share = TOLERANCE[reference["dtype"]]
    tolerances = nats + share * np.abs(expected)
    worst = int(np.argmax(differences - tolerances))  # a NaN, if there is one
    largest, allowed = float(differences.flat[worst]), float(tolerances.flat[worst])
    if not largest <= allowed:
        part = " and its adapter" if adapter else ""
        raise CanaryFailed(
            f"the engine does not serve {model}{part} as it was made: a log-probability differs by {largest:.3g} nats "
            f"from what transformers computes on the same files ({allowed:g} are allowed in {reference['dtype']}). The "
            "engine may not support a part of this architecture, or may have loaded other weights than the trainer"
        )
    return float(np.max(differences))
