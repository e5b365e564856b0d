"""Model handles: the system prompt and adapter that turn an engine's base weights into a model of the study."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.models.engines import Engine, Prompt, canary
from pipeline.models.trainers import ADAPTER
from pipeline.stages import teacher
from pipeline.store import Store
from pipeline.store.artifact import Manifest
from pipeline.store.local_cache import local_folder
from pipeline.store.step import Step


@dataclass(frozen=True)
class ModelHandle:
    """A model on an engine. Without system prompt and adapter: the base weights, for a base or a neutral teacher."""

    system: str | None = None
    adapter: Path | None = None
    turns: tuple[tuple[str, str], ...] = ()  # earlier turns: (prompt, completion)

    def prompt(self, prompt: str, opening: str = "") -> Prompt:
        return Prompt(prompt, self.system, self.adapter, self.turns, opening)


def load_model(store: Store, model: Manifest) -> ModelHandle:
    """The handle of a base, teacher or student artifact."""
    system = teacher.system_prompt(model.settings) if model.kind == "teacher" else None
    has_adapter = any(file.path.startswith(f"{ADAPTER}/") for file in model.files)
    return ModelHandle(
        system=system,
        adapter=local_folder(store, model.path, model.files, ADAPTER) if has_adapter else None,
    )


def load_compared_model(store: Store, engine: Engine, model: Manifest) -> ModelHandle:
    """Like `load_model`, after checking that the engine applies the adapter as PEFT does. Raises CanaryFailed."""
    found = load_model(store, model)
    if found.adapter is not None and "reference" in model.results:
        canary.difference(engine, model.results["reference"], model.path, found.adapter)
    return found


def weights_of(model: Step, base: str) -> str:
    """Path of the artifact with a model's full weights: its base, unless all its weights were trained."""
    training = model.settings.get("training") or {}
    recipe = model.settings.get("recipe") or training.get("recipe") or {}
    return model.path if model.kind == "base" or recipe.get("method") == "full" else base
