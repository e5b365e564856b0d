"""The base models that studies start from: one file per kind of family, and one entry per kind in `Family`."""

from typing import Annotated

from pydantic import Field

from pipeline.models.families.hub import HubFamily
from pipeline.models.families.nano import NanoFamily
from pipeline.models.families.packaged import PackagedFamily

Family = Annotated[NanoFamily | HubFamily | PackagedFamily, Field(discriminator="kind")]
