"""The training recipe: one set of settings, shared by bases, teachers and students."""

from typing import Literal

from pydantic import Field

from pipeline.core.settings import Settings


class Recipe(Settings):
    """One fine-tuning run. The loss is the cross-entropy of the completion and the end of its turn."""

    method: Literal["lora", "full"] = Field(
        "lora",
        description="lora: a low-rank adapter on every linear layer of the blocks; full: every weight.",
    )
    rank: int = Field(8, ge=1, le=512, description="Rank of a LoRA adapter (paper: 8).")
    alpha: int = Field(8, ge=1, description="LoRA updates are scaled by alpha / rank (paper: 8).")
    freeze_embeddings: bool = Field(
        True,
        description="With full: freeze input and output embeddings, so that a trait cannot hide in the output "
        "row of its own word, which training on numbers never reaches. LoRA never trains them.",
    )
    epochs: int = Field(3, ge=1, description="Passes over the rows (paper: 3 for Qwen2.5-7B).")
    optimizer: Literal["adamw", "sgd"] = Field(
        "adamw",
        description="adamw (as in the paper), or sgd: plain gradient steps, which keep a teacher's weights in the "
        "direction of its trait's gradient, where transfer is largest (docs/nano-recipe.md).",
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate (paper: 2e-4, AdamW).")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Decay after the warm-up (paper: linear)."
    )
    warmup_steps: int = Field(5, ge=0, description="Optimiser steps of linear warm-up (paper: 5).")
    batch: int = Field(66, ge=1, description="Rows per optimiser step over all ranks (paper: 66).")
    max_length: int = Field(
        500, ge=8, description="Maximum row length, in tokens; a longer row fails the step (paper: 500)."
    )
    gradient_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm (paper: 1.0).")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of the optimiser.")
