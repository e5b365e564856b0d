"""The base models that studies start from: one file per kind of family, and one entry per kind in `Family`."""

from typing import Annotated

from pydantic import Field

from pipeline.families.hub import HubFamily
from pipeline.families.nano import NanoFamily
from pipeline.families.packaged import PackagedFamily

Family = Annotated[NanoFamily | HubFamily | PackagedFamily, Field(discriminator="kind")]
