"""Where and how fast a study runs; never part of an id."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.core.recipe import Strict


class Engines(Strict):
    min_workers: int = Field(
        0, ge=0, description="Engines of a base that stay up while they have nothing to do, unless room is wanted."
    )
    max_workers: int = Field(1, ge=1, description="Most engines of a base at a time; they come as its queue grows.")
    cpus: float = Field(1, gt=0, description="CPU cores an engine.")
    gpus: float = Field(0, ge=0, description="GPUs an engine: a fraction below 1 lets several share one.")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that a model is cut over; `gpus` must be as many.")
    memory_gib: float = Field(1, gt=0, description="Memory of the KV cache on CPU, GiB an engine.")
    shards_in_flight: int = Field(
        2, ge=1, description="Shards an engine works on at once, so that none idles at a tail."
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers is {self.min_workers} and max_workers {self.max_workers}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}: an engine has a share of one GPU, or whole ones")
        if self.tensor_parallel > 1 and self.gpus != self.tensor_parallel:
            raise ValueError(f"tensor_parallel is {self.tensor_parallel}, so gpus must be too, not {self.gpus:g}")
        return self


class Training(Strict):
    groups: int = Field(2, ge=1, description="Most worker groups at a time; each trains one model after the other.")
    workers: int = Field(1, ge=1, description="Ray Train workers a group (data parallel).")
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage.")
    cpus: float = Field(1, gt=0, description="CPU cores a worker.")
    gpus: float = Field(0, ge=0, description="GPUs a worker.")
    checkpoint_seconds: float = Field(
        600, ge=0, description="Seconds between two checkpoints of a run; 0: one after every optimiser step."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Rows a worker takes through the model at once; left out, as many as its memory allows, up to 64.",
    )


class Resources(Strict):
    """Where and how fast it runs; never part of an id."""

    engines: Engines = Field(default_factory=Engines, description="vLLM engines.")
    training: Training = Field(default_factory=Training, description="DeepSpeed worker groups.")
    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="How long work in flight may go on after SIGTERM, in seconds."
    )
