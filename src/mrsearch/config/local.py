"""What the local trainer needs beside the settings that both trainers share."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from mrsearch.config.base import Model, NonNegativeInt, PositiveInt


class LocalTraining(Model):
    """Settings of `training.backend: local`."""

    validation_questions: NonNegativeInt = 0
    """Training questions held out and validated on, the same at every validation; 0 validates nothing."""
    validate_every: PositiveInt = 50
    """Steps between two validations; the last step is validated too."""
    export: Literal["last", "best"] = "last"
    """Which weights become the trained model: the last, or those of the best validation."""

    @model_validator(mode="after")
    def _has_a_best(self) -> LocalTraining:
        if self.export == "best" and not self.validation_questions:
            raise ValueError("export: best needs validation_questions above 0")
        return self
