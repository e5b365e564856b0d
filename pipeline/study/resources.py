"""Where and how fast a study runs; never part of an id."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.core.settings import Settings


class Engines(Settings):
    min_workers: int = Field(
        0,
        ge=0,
        description="Minimum number of engines per base that stay up when idle, unless others need the resources.",
    )
    max_workers: int = Field(1, ge=1, description="Maximum number of engines per base; more start as its queue grows.")
    cpus: float = Field(1, gt=0, description="CPU cores per engine.")
    gpus: float = Field(0, ge=0, description="GPUs per engine; a fraction below 1 lets several engines share one.")
    tensor_parallel: int = Field(
        1, ge=1, description="Tensor-parallel size: GPUs per model; `gpus` must be equal to it."
    )
    memory_gib: float = Field(1, gt=0, description="KV cache per engine on CPU, in GiB.")
    shards_in_flight: int = Field(
        2, ge=1, description="Shards per engine at a time, so that none is idle at the end of a shard."
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus is {self.gpus:g}: give a fraction below 1, or a whole number")
        if self.tensor_parallel > 1 and self.gpus != self.tensor_parallel:
            raise ValueError(f"tensor_parallel is {self.tensor_parallel}, so gpus must be too, not {self.gpus:g}")
        return self


class Training(Settings):
    groups: int = Field(
        2, ge=1, description="Maximum number of training groups at a time; each trains one model after the other."
    )
    workers: int = Field(1, ge=1, description="Ranks per training group (data parallel).")
    zero_stage: Literal[0, 1, 2, 3] = Field(2, description="DeepSpeed ZeRO stage.")
    cpus: float = Field(1, gt=0, description="CPU cores per rank.")
    gpus: float = Field(0, ge=0, description="GPUs per rank.")
    checkpoint_seconds: float = Field(
        600, ge=0, description="Seconds between two checkpoints of a training run; 0: one per optimiser step."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Micro-batch: rows per rank and forward pass; by default as many as its memory allows, up to 64.",
    )


class Compute(Settings):
    max_workers: int = Field(64, ge=1, description="Maximum number of workers at a time.")
    cpus: float = Field(1, gt=0, description="CPU cores per worker.")
    gpus: float = Field(0, ge=0, description="GPUs per worker; a fraction below 1 lets several workers share one.")


class Sign(Settings):
    key: str = Field(
        description="Signing key: a PEM file from `undertow keygen`, envvar:NAME (a variable that names the file), or "
        "a URI such as awskms:…, gcpkms:… or hsm:… (PKCS#11). The driver reads it."
    )
    public: str | None = Field(None, description="File of the public key, where `key` is a URI.")


class Resources(Settings):
    """Where and how fast it runs; never part of an id."""

    engines: Engines = Field(default_factory=Engines, description="vLLM engines.")
    training: Training = Field(default_factory=Training, description="DeepSpeed training groups.")
    compute: Compute = Field(
        default_factory=Compute,
        description="Workers for units that need neither engine nor trainer: those of experiments and of kinship.",
    )
    sign: Sign | None = Field(
        None, description="Sign every artifact once it is finished; by default none. See docs/provenance.md."
    )
    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="Grace period after SIGTERM for work in flight, in seconds."
    )
