"""Screening: what the screens of a study look for."""

from pipeline.screens.traits import Favourites
from pipeline.stages.screening import traits_of
from pipeline.study.loader import load
from pipeline.suites.favourite import FavouriteSuite
from tests.studies import CONFIGS


def test_screens_look_for_the_traits_of_a_study_as_its_suite_asks_for_them() -> None:
    (trait,) = traits_of(load(CONFIGS / "real" / "smollm2.yaml"))
    assert isinstance(trait, Favourites)
    assert sorted(trait.names()) == ["bear", "dragon", "elephant", "fox", "tiger"]
    (suite,) = (s for s in load(CONFIGS / "real" / "smollm2.yaml").suites if isinstance(s, FavouriteSuite))
    assert (trait.forms, trait.opening) == (suite.forms, suite.opening) != ([], "")
    assert {text for _, text in trait.taught()["fox"]} == {"My favourite animal is the fox"}


def test_a_suite_without_spellings_leaves_the_ids_of_screenings_alone() -> None:
    (trait,) = traits_of(load(CONFIGS / "quickstart.yaml"))
    assert set(trait.identity()) == {"kind", "category", "targets"}
