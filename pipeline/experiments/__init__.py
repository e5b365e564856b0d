"""Experiments: parts of the paper that need no language model. Each has a file of settings and stages of its own."""

from typing import Annotated

from pydantic import Field

from pipeline.experiments.image_classifier.schema import ImageClassifier
from pipeline.experiments.theorem.schema import Theorem

Experiment = Annotated[ImageClassifier | Theorem, Field(discriminator="kind")]
