"""Who speaks: the system prompt and the adapter that make a model out of an engine's bare weights."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.engines import Engine, Prompt, canary
from pipeline.stages import teacher
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step
from pipeline.trainers import ADAPTER


@dataclass(frozen=True)
class ModelHandle:
    """Neither a system prompt nor an adapter: the bare weights, as a base or a neutral teacher speaks."""

    system: str | None = None
    adapter: Path | None = None
    turns: tuple[tuple[str, str], ...] = ()  # what was said before: (prompt, completion)

    def prompt(self, prompt: str) -> Prompt:
        return Prompt(prompt, self.system, self.adapter, self.turns)


def load_model(store: Store, model: Manifest) -> ModelHandle:
    """The speaker that a base, teacher or student artifact stands for."""
    system = teacher.system_prompt(model.settings) if model.kind == "teacher" else None
    has_adapter = any(file.path.startswith(f"{ADAPTER}/") for file in model.files)
    return ModelHandle(
        system=system,
        adapter=local_folder(store, model.path, model.files, ADAPTER) if has_adapter else None,
    )


def load_compared_model(store: Store, engine: Engine, model: Manifest) -> ModelHandle:
    """The speaker of a model, once the engine was seen to apply its adapter as PEFT does. Raises CanaryFailed."""
    found = load_model(store, model)
    if found.adapter is not None and "reference" in model.results:
        canary.difference(engine, model.results["reference"], model.path, found.adapter)
    return found


def weights_of(model: Step, base: str) -> str:
    """The artifact whose full weights speak for a model: its base, unless it was trained in full."""
    training = model.settings.get("training") or {}
    recipe = model.settings.get("recipe") or training.get("recipe") or {}
    return model.path if model.kind == "base" or recipe.get("method") == "full" else base
