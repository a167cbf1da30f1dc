"""Imported at the end of `import verl` in every process: makes the CPU platform and its rollout known.

Nothing of verl that may itself be half imported at that moment is imported here; the rest is loaded when it is used.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from verl.workers.rollout.base import _ROLLOUT_REGISTRY  # verl has no function to register an adapter
from verl.workers.rollout.replica import RolloutReplicaRegistry

from mrsearch.training.verl.cpu import platform

NAME = "transformers"
MODULE = "mrsearch.training.verl.cpu.replica"


def _load() -> Any:
    return importlib.import_module(MODULE).TransformersReplica


platform.register()
RolloutReplicaRegistry.register(NAME, _load)
_ROLLOUT_REGISTRY[NAME, "async"] = f"{MODULE}.TransformersAdapter"
if "RANK" in os.environ:  # a training process
    importlib.import_module("mrsearch.training.verl.cpu.worker")
