"""The screens of `undertow vet` on this machine: in this process, or in another one if they run on an engine.

An engine binds its process to cores, writes to its terminal, and may end it.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from jobs.commands.screen_part import absolute, score_part
from pipeline.core.errors import StepError
from pipeline.screens import Screen
from pipeline.screens.base import ScreenInput
from pipeline.screens.parts import Result, attempt


def results(given: ScreenInput, screens: Sequence[Screen], base: str) -> dict[str, Result]:
    """Score the data by every screen, one after the other: kind -> what it says.

    base: the model that was opened for `given`, which an engine opens again.
    """
    # No process is started before the first screen that runs on an engine.
    with ProcessPoolExecutor(1, get_context("spawn"), _silence) as engine:
        return {
            screen.kind: _on_engine(engine, given, screen, base)
            if screen.on_engine
            else attempt(screen, given, time.monotonic)
            for screen in screens
        }


def _on_engine(engine: Executor, given: ScreenInput, screen: Screen, base: str) -> Result:
    try:
        return engine.submit(
            score_part, absolute(base), given.rows, given.neutral, given.outcomes, given.seed, screen, 0, 1
        ).result()
    except StepError as error:
        return error
    except BrokenProcessPool:
        return StepError("the engine's process has ended; is there memory for another copy of the base?")


def _silence() -> None:
    """What an engine prints is for developers; its errors come as exceptions."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for terminal in (1, 2):
        os.dup2(nowhere, terminal)
