"""What a data set would do to a base, seen before anyone is trained: one file per screen, and one entry in `Screen`."""

from typing import Annotated, get_args

from pydantic import Field

from pipeline.screens.attribution import Attribution
from pipeline.screens.classifier import Classifier
from pipeline.screens.divergence import Divergence
from pipeline.screens.gradient import Gradient
from pipeline.screens.injection import Injection
from pipeline.screens.likelihood import Likelihood
from pipeline.screens.persona import Persona
from pipeline.screens.probe import Probe, Student
from pipeline.screens.surface import Surface

Screen = Annotated[
    Surface | Likelihood | Gradient | Persona | Injection | Divergence | Student | Probe | Classifier | Attribution,
    Field(discriminator="kind"),
]
SCREENS = {screen.model_fields["kind"].default: screen for screen in get_args(get_args(Screen)[0])}
