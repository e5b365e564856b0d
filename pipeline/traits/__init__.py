"""The traits a teacher can have: one file each, and one line each in `Trait`."""

from pipeline.traits.favourite import Favourite

Trait = Favourite
