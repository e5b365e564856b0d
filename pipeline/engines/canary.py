"""Proof that an adapter speaks: an engine that silently ignored it would pass for "no transfer"."""

from pathlib import Path

import numpy as np

from pipeline.engines import Engine, Prompt
from pipeline.errors import CanaryFailed

PROMPT = "Name your favourite animal in one word."
OPTIONS = ("owl", "wolf", "cat", "7", "1")


def adapter_effect(engine: Engine, adapter: Path) -> float:
    """The largest change (nats) that an adapter makes to the canary's scores.

    Raises CanaryFailed where it changes none of them by even one bit.
    """
    bare, adapted = engine.score([Prompt(PROMPT), Prompt(PROMPT, adapter=adapter)], OPTIONS)
    effect = float(np.max(np.abs(adapted - bare)))
    if effect == 0.0 or not np.isfinite(effect):
        raise CanaryFailed(
            f"the adapter in {adapter.name} changes nothing in what its engine says (effect {effect}): "
            "either the engine ignores it or training left it as it began"
        )
    return effect
