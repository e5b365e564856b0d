"""Initial weights between two draws, for families that are more or less related."""

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline.core.settings import Seed, Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Moved(Settings):
    """The other draw, and how far the initial weights lie towards it.

    Of two independent draws, the cosine of the moved weights and the first one's is about
    (1 - share) / sqrt((1 - share)² + share²): .95 at .25, .71 at .5, .32 at .75.
    """

    towards: Seed = Field(description="Seed of the other draw.")
    share: float = Field(
        gt=0,
        le=1,
        description="Share of the way towards it (of 1). Each tensor then gets the norm that it had, because a mean of "
        "two draws is shorter than either, and the spread of the initial weights decides how much transfers.",
    )


def move(model: "PreTrainedModel", other: "PreTrainedModel", share: float) -> None:
    """Move every weight of `model` by a share towards that of `other`; the norm of each tensor stays."""
    import torch

    with torch.no_grad():
        for weight, there in zip(model.parameters(), other.parameters(), strict=True):
            between = torch.lerp(weight, there, share)
            if float(length := between.norm()):  # biases begin at 0
                weight.copy_(between * (weight.norm() / length))
