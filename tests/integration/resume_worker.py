"""One rank that trains undisturbed, then is interrupted after its sixth step and goes on, under every ZeRO stage.

Takes a base and an empty folder, and writes what it saw into the folder.
"""

import hashlib
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.core.recipe import Recipe
from pipeline.models.families.synthetic_corpus import rows
from pipeline.models.trainers import MODEL, Run, deepspeed, open_trainer
from pipeline.models.trainers.checkpoints import Checkpoints
from pipeline.store import open_store

LAST = 6


class Interrupted(Exception):
    pass


class Interrupting(Checkpoints):
    def save(self, step: int, attempt: str, source: Path, rank: int, ranks: int) -> str:
        name = super().save(step, attempt, source, rank, ranks)
        if step == LAST:
            raise Interrupted
        return name


def train(case: str, stage: int, checkpoints: Checkpoints | None = None) -> dict[str, object]:
    """Losses, the weights' digest and steps made now; {} on all ranks but the first, and where it was interrupted."""
    trainer = open_trainer("deepspeed", zero_stage=stage, micro_batch=4)
    recipe = Recipe(method="full", epochs=2, batch=12, learning_rate=1e-2, max_length=128)
    out = folder / f"{case}-{dist.get_rank()}"
    out.mkdir()
    made: list[float] = []
    try:
        log = trainer.train(
            Run(model, rows(7, 48), recipe, 1, out, checkpoints), lambda entry, _: made.append(entry["step"])
        )
    except Interrupted:
        return {}
    if log is None:
        return {}
    weights = hashlib.sha256((out / MODEL / "model.safetensors").read_bytes()).hexdigest()
    return {"made": len(made), "losses": log["loss"].to_pylist(), "weights": weights}


def kept(place: str) -> list[str]:
    """What lies in the store after an interruption, the names that attempts draw left out."""
    dist.barrier()
    found = sorted(path.relative_to(store.folder / place) for path in (store.folder / place).rglob("*.*"))
    dist.barrier()
    return ["/".join([path.parts[0].rpartition("-")[0], *path.parts[1:]]) for path in found]


model, folder = Path(sys.argv[1]), Path(sys.argv[2])
dist.init_process_group("gloo")
store = open_store(folder / "store")
store.create("undertow-root.json", b'{"undertow_root": 1, "id": "0"}')
seen: dict[str, object] = {}
for dtype in (torch.float32, torch.bfloat16):
    deepspeed.precision = lambda dtype=dtype: dtype  # a GPU's type of weights, too
    for stage in range(4):
        case = f"{dtype}-{stage}"
        place = f"student/x-{len(seen):012x}/checkpoints"
        undisturbed = train(f"undisturbed-{case}", stage)
        train(f"interrupted-{case}", stage, Interrupting(store, place, 0))
        left = kept(place)
        torch.manual_seed(99)  # as a new process, which does not know where the random numbers were
        resumed = train(f"resumed-{case}", stage, Checkpoints(store, place, 0))
        seen[case] = {"undisturbed": undisturbed, "resumed": resumed, "left": left}
if dist.get_rank() == 0:
    (folder / "seen.json").write_text(json.dumps(seen))
dist.destroy_process_group()
