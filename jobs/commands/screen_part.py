"""One part of a screen of `undertow vet`, in a process that opens the base by itself."""

import socket
import time
from functools import cache
from pathlib import Path

import pyarrow as pa

from jobs.commands.lineage import root_of
from pipeline.core.errors import InputError
from pipeline.models import served_model
from pipeline.models.families import chat, weights
from pipeline.models.language_model import LanguageModel
from pipeline.models.passes import Passes
from pipeline.models.trainers import MODEL
from pipeline.screens import Screen
from pipeline.screens.base import ScreenInput
from pipeline.screens.parts import Screened, run
from pipeline.screens.traits import Outcomes
from pipeline.store import artifact, open_store
from pipeline.store.local_cache import local_folder


def base_folder(place: str) -> Path:
    """A checked model folder. Raises InputError if there is none, and ModelRefused if it is not in order."""
    located = root_of(place)
    if located and located[1]:
        store = open_store(located[0])
        manifest = artifact.require(store, located[1])
        if manifest.kind != "base":
            raise InputError(f"{place} is a {manifest.kind}: name the base that would be fine-tuned")
        return local_folder(store, manifest.path, manifest.files, MODEL)
    folder = Path(place)
    if not (folder / "config.json").is_file():
        raise InputError(f"{place} is no model folder (it has no config.json), and no base of a root")
    weights.check(folder, [file.name for file in folder.iterdir()])
    chat.check_apart(folder)
    return folder


def absolute(place: str) -> str:
    """The same base for processes with another working folder."""
    return place if "://" in place else str(Path(place).absolute())


def score_part(
    base: str, rows: pa.Table, neutral: pa.Table, outcomes: Outcomes, seed: int, screen: Screen, number: int, of: int
) -> Screened:
    """Part `number` of `of` of a screen. Raises InputError, ResourceError and StepError."""
    given = ScreenInput(rows, neutral, _model(base, screen.on_engine), outcomes, seed)
    return run(screen, given.every(of, number) if of > 1 else given, time.monotonic)


@cache
def _model(base: str, on_engine: bool) -> LanguageModel:
    try:
        folder = base_folder(base)
    except InputError as error:
        raise InputError(
            f"{error}, on {socket.gethostname()}: with --address, every machine of the cluster must see the base: name "
            "one in a root on object storage, or on a folder that all of them share"
        ) from None
    return served_model.serve(folder) if on_engine else Passes(folder)
