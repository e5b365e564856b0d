"""What models are asked: one file per suite, and one entry per suite in `Suite`."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pipeline.core.settings import STORED
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


def read_suite(identity: dict[str, Any]) -> Suite:
    """The suite with this identity."""
    suite: Suite = TypeAdapter(Suite).validate_python(identity, context=STORED)
    return suite
