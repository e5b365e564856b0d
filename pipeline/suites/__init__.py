"""What a model is asked: one file each, and one line each in `Suite`."""

from pipeline.suites.favourite import FavouriteSuite

Suite = FavouriteSuite
