"""The screens of `undertow vet` on the workers of a Ray cluster: one task per screen, or per part of many rows."""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from jobs.commands.screen_part import absolute, score_part
from pipeline.core.errors import ResourceError, StepError, UndertowError
from pipeline.screens import Screen
from pipeline.screens.base import ScreenInput
from pipeline.screens.parts import Result, joined, parts_of, parts_with_rows

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
        shared = [absolute(base), *map(ray.put, (given.rows, given.neutral, given.outcomes)), given.seed]
        part: Any = ray.remote(score_part)
        engine_part: Any = ray.remote(max_calls=1)(score_part)  # an engine ends with its process

        def started(screen: Screen) -> list[Any]:
            count = _parts(screen, given)
            task = engine_part if screen.on_engine else part
            names = [f"{screen.kind} {number + 1} of {count}" for number in range(count)]
            return [
                task.options(name=name, num_cpus=1, num_gpus=gpus).remote(*shared, screen, number, count)
                for number, name in enumerate(names)
            ]

        # The longest do not start last.
        tasks = {screen.kind: started(screen) for screen in sorted(screens, key=lambda screen: -screen.COST)}
        return {screen.kind: _result(tasks[screen.kind]) for screen in screens}

    def _joined(self) -> "Cluster":
        from jobs import cluster

        self._cluster = self._cluster or cluster.join(self._address)
        return self._cluster


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
