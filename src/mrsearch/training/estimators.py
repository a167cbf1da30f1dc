"""Which advantage estimator a training has: this project's by its name, or an installed package's with its settings."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from torch import Tensor

from mrsearch.config.installed import settings_of
from mrsearch.config.training import Train
from mrsearch.extensions import ESTIMATORS
from mrsearch.learning.advantages import Estimator


class AdvantageEstimator(Protocol):
    """An estimator of an installed package, as entry points of the group `mrsearch.estimators` name it: a function, or
    an object that can be called.

    It may have a pydantic model `Settings`, and says by `compares = False` that a question of one meta-episode is worth
    training on.
    """

    def __call__(
        self, rewards_GN: Tensor, exists_GN: Tensor, gamma: float, episode_mask_N: Tensor | None, settings: Any
    ) -> Tensor:
        """Advantages [..., G, N] of the episodes of G meta-episodes of a question, with questions in front; `exists_GN`
        marks the episodes that took place, and 0 in `episode_mask_N` drops an episode's reward."""
        ...


def estimator_of(train: Train) -> Estimator:
    """The estimator of a training; ValueError where it has none."""
    if train.algorithm_package is None:
        estimator: Estimator = ESTIMATORS.load(train.algorithm)
        return estimator
    settings = settings_of(ESTIMATORS, train.algorithm, train.algorithm_settings)
    return functools.partial(_with_settings, ESTIMATORS.load(train.algorithm), settings)


def _with_settings(
    estimator: AdvantageEstimator,
    settings: Any,
    rewards_GN: Tensor,
    exists_GN: Tensor,
    gamma: float,
    episode_mask_N: Tensor | None,
) -> Tensor:
    return estimator(rewards_GN, exists_GN, gamma, episode_mask_N, settings)
