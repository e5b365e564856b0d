"""base: a starting model, trained here from scratch (nano) or taken from a snapshot (hub)."""

from pathlib import Path
from zlib import crc32

from pydantic import TypeAdapter

from pipeline.families import Family
from pipeline.families.nano import NanoFamily, initialise, pretraining
from pipeline.families.world import rows
from pipeline.script import Script, write
from pipeline.step import Step
from pipeline.trainers import MODEL, Run


def run(step: Step, scratch: Path) -> Run | None:
    """The pretraining of a nano family; None where `scratch`/out/model is written without any."""
    told = step.settings["family"] | ({"path": step.source} if step.source else {})
    family: Family = TypeAdapter(Family).validate_python(told)
    out = scratch / "out"
    if step.settings.get("trainer") == "scripted":
        init = family.init_seed if isinstance(family, NanoFamily) else crc32(family.model_dump_json().encode())
        write(Script(init), out / MODEL)
        return None
    if not isinstance(family, NanoFamily):
        family.write(out / MODEL)
        return None
    initialise(family, scratch / "start")
    world = rows(family.world_seed, family.pretrain_rows, family.longest_list, family.channels)
    return Run(scratch / "start", world, pretraining(family), family.init_seed, out)
