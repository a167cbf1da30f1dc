"""The points of a study's experiment: the difference between two methods at every value of every knob, and its test."""

from __future__ import annotations

from dataclasses import dataclass

from mrsearch.evaluation.choices import HEADLINE
from mrsearch.reporting.frame import Metrics, Value
from mrsearch.reporting.tables import marks
from mrsearch.reporting.tables.marks import Comparison, Significance

METRIC = "em"
AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class KnobPoint:
    """One method of the experiment against another at one value of one knob."""

    knob: str
    value: str
    against: str
    """The rival, by its name in the study's file."""
    comparison: Comparison
    score: Value
    """Mean EM of the method."""
    rival_score: Value
    """Mean EM of the rival."""
    difference: Value
    """The method's mean minus the rival's, with its interval."""
    significance: Significance
    """Its test, corrected over the points of all knobs against this rival."""


def knob_points(metrics: Metrics, model: str, decoding: str, against: str) -> list[KnobPoint]:
    """Every point of every knob against a rival, in the study's order.

    Points that knobs have in common are one test of the family. ValueError where metrics lack a row.
    """
    experiment = metrics.study.report.experiment
    assert experiment is not None, "only studies with an experiment have points"
    comparisons = {
        (method, rival): Comparison(model, decoding, method, AVERAGE, METRIC, rival)
        for method, rival in experiment.pairs(against)
    }
    tests = marks.tests(metrics, comparisons.values())
    points = []
    for knob, settings in experiment.knobs.items():
        for value, method_of in settings.points.items():
            comparison = comparisons[method_of[experiment.method], method_of[against]]
            of_method, of_rival = (
                metrics.at(model, decoding, method, AVERAGE, METRIC, HEADLINE)
                for method in (comparison.method, comparison.reference)
            )
            key = (model, decoding, comparison.method, AVERAGE, f"{METRIC}_difference", HEADLINE, comparison.reference)
            test = tests[comparison]
            points.append(KnobPoint(knob, value, against, comparison, of_method, of_rival, metrics.at(*key), test))
    return points
