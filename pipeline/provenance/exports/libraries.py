"""The libraries of other people's formats. They are an optional extra, and some take seconds to import."""

from importlib import import_module
from typing import Any

from pipeline.core.errors import InputError


def library(module: str) -> Any:
    """A module of a library. Raises InputError if the library is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the library {error.name} is not installed, and this format is written with it: pip install "
            "'undertow[export]'"
        ) from None
