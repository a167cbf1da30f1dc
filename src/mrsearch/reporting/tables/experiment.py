"""An experiment's method against its rivals, at every value of every knob."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mrsearch.config.experiment import Experiment
from mrsearch.evaluation.comparisons import Basis, basis
from mrsearch.reporting.frame import Metrics, method_label, origin_note
from mrsearch.reporting.tables import marks
from mrsearch.reporting.tables.knob_points import KnobPoint, knob_points
from mrsearch.reporting.tables.methods import put, title
from mrsearch.reporting.tables.table import Block, Table, TableCell, number


def experiment_table(metrics: Metrics) -> Table:
    """Mean EM of the method by knob and value, and its difference to each rival with interval and mark."""
    study, experiment = metrics.study, _experiment(metrics)
    coverage = f"({study.report.confidence:.0%} interval)"
    header = ["Value", method_label(study, experiment.method)]
    header += [f"minus {method_label(study, rival)} {coverage}" for rival in experiment.against]
    blocks = []
    for decoding in metrics.decodings:
        for model in study.models:
            against = [knob_points(metrics, model, decoding, rival) for rival in experiment.against]
            by_knob = {knob: Block("", group=decoding) for knob in experiment.knobs}
            for points in zip(*against, strict=True):
                first = points[0]
                cells = [TableCell(first.value), TableCell(number(first.score.value, 100)), *map(_cell, points)]
                by_knob[first.knob].rows.append(cells)
            for knob, block in by_knob.items():
                block.title = f"{title(metrics, model, decoding)}: {experiment.knobs[knob].label}"
                blocks.append(block)
    notes = [
        "EM (%), the unweighted mean over the benchmarks, and differences in points: on the same questions and, where "
        "both were trained, with the same seeds. Values that several knobs have in common are the same methods.",
        marks.interval_note(study),
        *_mark_notes(metrics, experiment),
        origin_note(metrics),
    ]
    return Table("experiment", f"Experiment{marks.seeds_note(study)}", header, blocks, notes)


def experiment_rows(metrics: Metrics) -> Iterator[dict[str, Any]]:
    """The table unrounded: a row per model, decoding, rival, knob and value."""
    for model in metrics.study.models:
        for decoding in metrics.decodings:
            for rival in _experiment(metrics).against:
                for point in knob_points(metrics, model, decoding, rival):
                    yield _row(point, model, decoding)


def _row(point: KnobPoint, model: str, decoding: str) -> dict[str, Any]:
    row: dict[str, Any] = {"model": model, "decoding": decoding, "knob": point.knob, "setting": point.value}
    row |= {"method": point.comparison.method, "compared_with": point.comparison.reference}
    put(row, "em", point.score)
    put(row, "em_compared_with", point.rival_score)
    put(row, "difference", point.difference)
    test = point.significance
    row |= {"p": test.p, "p_holm": test.corrected, "p_questions": test.over_questions, "mark": test.sign}
    return {**row, "n": point.difference.n, "seeds": point.difference.seeds}


def _cell(point: KnobPoint) -> TableCell:
    value, low, high = (
        number(end, 100, sign=True) for end in (point.difference.value, point.difference.low, point.difference.high)
    )
    return TableCell(f"{value} [{low}, {high}]", suffix=point.significance.sign)


def _mark_notes(metrics: Metrics, experiment: Experiment) -> list[str]:
    """What the signs mean; a family of tests is all points against one rival."""
    tests = len(experiment.pairs(experiment.against[0]))
    pair = experiment.pairs(experiment.against[0])[0]
    speaks_of = basis(metrics.study, *pair)
    holds = (
        "other questions and other trainings" if speaks_of is Basis.methods else "other questions, these weights alone"
    )
    return [
        f"{marks.SIGNS[speaks_of]} differs at p < {marks.SIGNIFICANT}, Holm over the {tests} points of all knobs, each "
        f"rival and each decoding for itself: a test that holds for {holds}."
    ]


def _experiment(metrics: Metrics) -> Experiment:
    experiment = metrics.study.report.experiment
    assert experiment is not None, "only studies with an experiment have this table"
    return experiment
