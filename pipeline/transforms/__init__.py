"""What an arm does to corpora: one file each, and one line each in `Transform`."""

from typing import Annotated

from pydantic import Field

from pipeline.transforms.mix import Mix
from pipeline.transforms.shuffle import Shuffle

Transform = Annotated[Mix | Shuffle, Field(discriminator="kind")]
