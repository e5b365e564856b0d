"""Experiments: parts of the paper that need no language model. Each has a file of settings and stages of its own."""

from pipeline.experiments.image_classifier.schema import ImageClassifier

Experiment = ImageClassifier
