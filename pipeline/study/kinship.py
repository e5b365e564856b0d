"""The section `kinship` of the study file: how alike the families are, beside what passes between them."""

from pydantic import Field

from pipeline.core.settings import Settings


class Kinship(Settings):
    """Kinship of every teacher family and student family."""

    rows: int = Field(
        512,
        ge=1,
        description="Rows of the neutral teacher's corpus on which answers and gradients of two bases are compared.",
    )
