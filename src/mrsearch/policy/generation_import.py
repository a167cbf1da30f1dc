"""The import of transformers' models."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GENERATION = "transformers.generation.candidate_generator"
MODELS = "transformers.modeling_utils", "transformers.generation"
"""What every model of transformers imports beside it."""


def import_generation() -> None:
    """Import what every model of transformers imports, without scikit-learn, SciPy's statistics and pandas below it.

    One metric of assisted generation, which nothing here uses, is all that it takes of them, for a fifth of the time
    that a process with a model takes to start.
    """
    if GENERATION in sys.modules:
        return
    utilities: Any = importlib.import_module("transformers.utils")
    available = utilities.is_sklearn_available
    utilities.is_sklearn_available = lambda: False
    try:
        with _without_collections():
            for name in (GENERATION, *MODELS):
                importlib.import_module(name)
    finally:
        utilities.is_sklearn_available = available


@contextmanager
def _without_collections() -> Iterator[None]:
    """No garbage is looked for among what is imported, now or later: nearly all of it stays to the end, and looking
    through it again and again is a seventh of the time that the import takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
