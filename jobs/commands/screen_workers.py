"""The screens of `undertow vet` on the workers of a Ray cluster: one task per screen, or per part of many rows."""

import socket
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jobs.commands.lineage import root_of
from pipeline.core.errors import InputError, ResourceError, StepError, UndertowError
from pipeline.models.families import chat, weights
from pipeline.models.passes import Passes
from pipeline.models.trainers import MODEL
from pipeline.screens import Screen
from pipeline.screens.base import ScreenInput
from pipeline.screens.parts import Result, Screened, joined, parts_of, parts_with_rows, run
from pipeline.screens.traits import Outcomes
from pipeline.store import artifact, open_store
from pipeline.store.local_cache import local_folder

if TYPE_CHECKING:
    from jobs.cluster import Cluster


class ScreenWorkers:
    """The cluster is joined, or started on this machine, when the first data set is screened."""

    def __init__(self, address: str) -> None:
        """address: a Ray cluster, "auto", or "local" for one that is started here."""
        self._address = address
        self._cluster: Cluster | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._cluster:
            self._cluster.shut_down()

    def results(self, given: ScreenInput, screens: Sequence[Screen], base: str) -> dict[str, Result]:
        """Score the data by every screen: kind -> what it says.

        base: the model that was opened for `given`; every worker opens it by itself. Raises InputError and
        ResourceError.
        """
        import ray

        gpus = float(self._joined().total().gpus > 0)
        place = base if "://" in base else str(Path(base).absolute())
        shared = [place, *map(ray.put, (given.rows, given.neutral, given.outcomes)), given.seed]
        part: Any = ray.remote(_part)

        def started(screen: Screen) -> list[Any]:
            count = _parts(screen, given)
            names = [f"{screen.kind} {number + 1} of {count}" for number in range(count)]
            return [
                part.options(name=name, num_cpus=1, num_gpus=gpus).remote(*shared, screen, number, count)
                for number, name in enumerate(names)
            ]

        # The longest do not start last.
        tasks = {screen.kind: started(screen) for screen in sorted(screens, key=lambda screen: -screen.COST)}
        return {screen.kind: _result(tasks[screen.kind]) for screen in screens}

    def _joined(self) -> "Cluster":
        from jobs import cluster

        self._cluster = self._cluster or cluster.join(self._address)
        return self._cluster


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


def _result(tasks: Sequence[Any]) -> Result:
    import ray

    try:
        return joined(ray.get(tasks))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, StepError):
            return error.cause
        if isinstance(error.cause, UndertowError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise ResourceError(f"the cluster could not finish the screens: {error}") from None


def _parts(screen: Screen, given: ScreenInput) -> int:
    rows, neutral = given.rows.num_rows, given.neutral.num_rows
    return parts_with_rows(parts_of(screen, rows), min(rows, neutral))


def _part(
    base: str, rows: Any, neutral: Any, outcomes: Outcomes, seed: int, screen: Screen, number: int, of: int
) -> Screened:
    """One part of a screen, in a worker."""
    given = ScreenInput(rows, neutral, _passes(base), outcomes, seed)
    return run(screen, given.every(of, number) if of > 1 else given, time.monotonic)


@cache
def _passes(base: str) -> Passes:
    try:
        return Passes(base_folder(base))
    except InputError as error:
        raise InputError(
            f"{error}, on {socket.gethostname()}: with --address, every machine of the cluster must see the base: name "
            "one in a root on object storage, or on a folder that all of them share"
        ) from None
