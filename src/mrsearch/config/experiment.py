"""An experiment: one method against others at every point of some knobs, with all that a point changes trained anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, model_validator

from mrsearch.config.base import Model, Name


class Arms(Model):
    """What an experiment compares."""

    method: Name
    """The method that is compared with each rival."""
    against: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Its rivals, in the order of the table."""

    @property
    def arms(self) -> tuple[str, ...]:
        """All methods that are compared, by their names in the study's file."""
        return (self.method, *self.against)

    @model_validator(mode="after")
    def _arms_differ(self) -> Arms:
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"method and against name a method twice: {', '.join(self.arms)}")
        return self


class KnobSettings(Model):
    """What one knob changes."""

    label: str | None = None
    """How table and figure call it; null is the knob's own name."""
    points: Annotated[dict[Name, dict[str, dict[str, Any]]], Field(min_length=1)]
    """By value, keys of methods by dotted path: `{"0.25": {"*": {retrieval.use: noisy}}}`. `"*"` stands for all that
    are compared and for those whose policies they run; the keys of a method that is named come after. What nothing
    changes is shared with other points."""


class ExperimentSettings(Arms):
    """An experiment as a study's file says it."""

    knobs: Annotated[dict[Name, KnobSettings], Field(min_length=1)]
    """What is varied, one at a time; a method changed at a point is trained and evaluated there, and so is what builds
    on it."""


class Knob(Model):
    """The points of one knob."""

    label: str
    """How table and figure call it."""
    points: dict[Name, dict[Name, Name]]
    """By value, the study's method that stands there for each that is compared."""


class Experiment(Arms):
    """An experiment whose points are methods of the study."""

    knobs: dict[Name, Knob]
    """What is varied, one at a time."""
    copies: tuple[Name, ...] = ()
    """The study's methods that points made, with those whose policies they run or start from."""

    def pairs(self, rival: str) -> list[tuple[str, str]]:
        """(method, rival) at every point, each pair once, in the order of the knobs."""
        points = (point for knob in self.knobs.values() for point in knob.points.values())
        return list(dict.fromkeys((point[self.method], point[rival]) for point in points))

    def compared_with(self, method: str) -> list[str]:
        """The study's methods that a method of the study is compared with."""
        pairs = (pair for rival in self.against for pair in self.pairs(rival))
        return [reference for compared, reference in pairs if compared == method]

    def methods(self) -> Iterator[str]:
        """Every method of the study that stands at a point."""
        for knob in self.knobs.values():
            for point in knob.points.values():
                yield from point.values()

    @model_validator(mode="after")
    def _points_have_all(self) -> Experiment:
        for knob, settings in self.knobs.items():
            for value, point in settings.points.items():
                if set(point) != set(self.arms):
                    raise ValueError(f"knobs.{knob}.points.{value} has {', '.join(point)}, not {', '.join(self.arms)}")
        return self
