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
UNUSED = "is_sklearn_available", "is_scipy_available"
"""How transformers asks for libraries that nothing here needs of it."""


def import_generation() -> None:
    """Import what every model of transformers imports, without scikit-learn, SciPy and pandas below it.

    One metric of assisted generation and the losses of object detection, which nothing here uses, are all that it takes
    of them, for a quarter of the time that a process with a model takes to start.
    """
    if GENERATION in sys.modules:
        return
    utilities: Any = importlib.import_module("transformers.utils")
    available = {name: getattr(utilities, name) for name in UNUSED}
    for name in UNUSED:
        setattr(utilities, name, lambda: False)
    try:
        with _without_collections():
            for name in (GENERATION, *MODELS):
                importlib.import_module(name)
    finally:
        for name, function in available.items():
            setattr(utilities, name, function)


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
