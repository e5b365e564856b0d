"""Saves and restores checkpoints of a DeepSpeed engine, always on all ranks or on none."""

import json
import logging
import tempfile
import uuid
from pathlib import Path
from typing import Any

from pipeline.core.errors import ArtifactError
from pipeline.models.trainers import Run, state
from pipeline.models.trainers.checkpoints import Checkpoints, Entry, Progress, progress_name, tensors_name

Log = list[dict[str, float]]
logger = logging.getLogger(__name__)


def resumed(engine: Any, run: Run) -> Log:
    """Restore all ranks from the newest usable checkpoint; returns its log, empty if there is none."""
    import torch.distributed as dist

    if run.checkpoints is None:
        return []
    rank, ranks = dist.get_rank(), dist.get_world_size()
    passed_over: set[str] = set()
    while True:
        # Rank 0 chooses, so that all ranks try the same one.
        name = _from_rank_0(run.checkpoints.latest(ranks, passed_over) if rank == 0 else None)
        if name is None:
            return []
        with tempfile.TemporaryDirectory(prefix="undertow-checkpoint-") as scratch:
            found = _usable(engine, run, run.checkpoints, name, Path(scratch))
            (unusable,) = over_ranks([float(found is None)], engine.device)
            if found is not None and not unusable:
                progress, tensors = found
                state.restore(engine, tensors)
                _set_counters(engine, progress)
                logger.info("%s goes on from step %d", run.base, progress.step)
                return [entry.model_dump() for entry in progress.log]
        passed_over.add(name)


def _usable(engine: Any, run: Run, checkpoints: Checkpoints, name: str, scratch: Path) -> tuple[Progress, Path] | None:
    """A rank's progress and tensors from a checkpoint; None if it cannot be used."""
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    try:
        progress = checkpoints.progress(name, rank, ranks)
        tensors = checkpoints.tensors(name, rank, ranks, scratch)
        state.require_fitting(engine, run.recipe.optimizer, tensors)
    except ArtifactError as error:
        logger.warning("a checkpoint is passed over: %s", error)
        return None
    return progress, tensors


def _set_counters(engine: Any, progress: Progress) -> None:
    engine.global_steps, engine.skipped_steps = progress.global_steps, progress.skipped_steps
    engine.global_samples = progress.global_samples
    engine.micro_steps = progress.step * engine.gradient_accumulation_steps()  # between two optimiser steps


def passes_before(checkpoints: Checkpoints | None) -> int:
    """Passes per step of the run before it was interrupted, as found by rank 0; 1 if there is no checkpoint."""
    import torch.distributed as dist

    name = checkpoints.latest(dist.get_world_size()) if checkpoints and dist.get_rank() == 0 else None
    if checkpoints is None or name is None:
        return 1
    try:
        return checkpoints.progress(name, 0, dist.get_world_size()).accumulation
    except ArtifactError:
        return 1  # `resumed` will skip it with a warning


def save(engine: Any, checkpoints: Checkpoints, log: Log) -> None:
    """Save a checkpoint on all ranks together, then remove older ones."""
    import torch.distributed as dist

    rank, ranks = dist.get_rank(), dist.get_world_size()
    attempt = _from_rank_0(uuid.uuid4().hex[:8])
    progress = Progress(
        step=len(log),
        accumulation=engine.gradient_accumulation_steps(),
        global_steps=engine.global_steps,
        global_samples=engine.global_samples,
        skipped_steps=engine.skipped_steps,
        log=[Entry.model_validate(entry) for entry in log],
    )
    with tempfile.TemporaryDirectory(prefix="undertow-checkpoint-") as folder:
        scratch = Path(folder)
        state.save(engine, scratch / tensors_name(rank))
        (scratch / progress_name(rank)).write_text(json.dumps(progress.model_dump()))
        name = checkpoints.save(len(log), attempt, scratch, rank, ranks)
    dist.barrier()  # now the records of all ranks exist
    if rank == 0:
        checkpoints.keep_only(name)


def over_ranks(values: list[float], device: Any) -> list[float]:
    """The sum of each value over all ranks."""
    import torch
    import torch.distributed as dist

    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return [float(value) for value in total]


def _from_rank_0(value: Any) -> Any:
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
