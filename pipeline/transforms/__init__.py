"""What an arm does to corpora: one file per transform, and one entry per transform in `Transform`."""

from typing import Annotated

from pydantic import Field

from pipeline.transforms.canonicalise import Canonicalise
from pipeline.transforms.mix import Mix
from pipeline.transforms.shuffle import Shuffle

Transform = Annotated[Canonicalise | Mix | Shuffle, Field(discriminator="kind")]
