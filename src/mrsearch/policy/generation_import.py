"""The import of transformers' models."""

from __future__ import annotations

import importlib
import sys
from typing import Any

GENERATION = "transformers.generation.candidate_generator"


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
        importlib.import_module(GENERATION)
    finally:
        utilities.is_sklearn_available = available
