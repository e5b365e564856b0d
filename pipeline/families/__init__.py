"""The base models that studies start from: one file per kind of family, and one entry per kind in `Family`."""

from typing import Annotated

from pydantic import Field

from pipeline.families.hub import HubFamily
from pipeline.families.nano import NanoFamily

Family = Annotated[NanoFamily | HubFamily, Field(discriminator="kind")]
