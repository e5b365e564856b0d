"""base: a starting model, trained here from scratch (nano) or taken from a snapshot (hub), and proved to be one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from pydantic import TypeAdapter

from pipeline.engines import Engine, canary
from pipeline.errors import ModelRefused
from pipeline.families import Family, chat, weights
from pipeline.families.nano import NanoFamily, initialise, pretraining
from pipeline.families.world import rows
from pipeline.script import Script, write
from pipeline.step import Json, Step
from pipeline.store import Store
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


def is_copied(step: Step) -> bool:
    """Whether it is somebody else's model, whose files are read again until the base is finished."""
    return bool(step.settings["family"]["kind"] == "hub" and step.settings.get("trainer") != "scripted")


@contextmanager
def named(step: Step, model: Path) -> Iterator[None]:
    """Has what is wrong with the files in a scratch folder said of where they came from."""
    try:
        yield
    except ModelRefused as error:
        family = step.settings["family"]
        origin = step.source or f"{family['repo']} at {family['revision']}" if is_copied(step) else step.slug
        raise ModelRefused(str(error).replace(str(model), origin)) from None


def check(step: Step, model: Path) -> Json:
    """What was measured of a base's files, tokenizer and chat template. Raises ModelRefused."""
    if step.settings.get("trainer") == "scripted":
        return {}
    measured: Json = {"weights": weights.check(model, [file.name for file in model.iterdir()])}
    return measured | {"chat": chat.check_apart(model) if is_copied(step) else chat.check(model)}


def compare(store: Store, engine: Engine, step: Step, reference: Json) -> Json:
    """How far the engine is from transformers on the same files, in nats. Raises CanaryFailed."""
    return {"engine_difference": canary.difference(engine, reference, step.path)}
