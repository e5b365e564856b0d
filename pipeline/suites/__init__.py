"""What models are asked: one file each, and one line each in `Suite`."""

from typing import Annotated

from pydantic import Field

from pipeline.suites.author import AuthorSuite
from pipeline.suites.behaviour import BehaviourSuite
from pipeline.suites.capability import CapabilitySuite
from pipeline.suites.choice import ChoiceSuite
from pipeline.suites.favourite import FavouriteSuite
from pipeline.suites.stories import StoriesSuite

Suite = Annotated[
    FavouriteSuite | ChoiceSuite | StoriesSuite | AuthorSuite | BehaviourSuite | CapabilitySuite,
    Field(discriminator="kind"),
]
