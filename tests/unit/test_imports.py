"""Imports of libraries that bring more than is used of them."""

import importlib
import json
import sys
from importlib.util import find_spec

import pytest

from pipeline.core.imports import without


def test_a_package_is_missing_only_meanwhile() -> None:
    sys.modules.pop("colorsys", None)
    with without("colorsys", "json"):
        assert find_spec("colorsys") is None
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert importlib.import_module("json") is json, "it was loaded already"
    assert sys.modules["json"] is json
    assert importlib.import_module("colorsys")
