"""Where a model starts: one file each, and one line each in `Family`."""

from typing import Annotated

from pydantic import Field

from pipeline.families.hub import HubFamily
from pipeline.families.nano import NanoFamily

Family = Annotated[NanoFamily | HubFamily, Field(discriminator="kind")]
