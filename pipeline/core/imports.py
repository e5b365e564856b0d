"""Faster starts of processes that import a lot."""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Import without the garbage collector, and keep it from the imported objects afterwards.

    Large packages make millions of objects that all stay. The collector would walk them again and again: 3 of 18
    CPU-seconds to import vLLM, 3 of 11 for DeepSpeed and transformers.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """Import as if these packages were not installed, for libraries that do without them.

    transformers imports scikit-learn for a kind of decoding that nothing here uses (2 of 9 CPU-seconds), and torch even
    where a tokenizer is all that is wanted (7 more). A package that is loaded already stays.
    """
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # for the import system, None is no module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
