"""Whatever a study names by name is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrsearch.config.choices import choices
from mrsearch.config.interventions import check_twins

if TYPE_CHECKING:
    from mrsearch.config.study import Study


def compared_methods_exist(study: Study) -> None:
    """Methods are compared with methods of the study."""
    for name, method in study.methods.items():
        if method.compare_with is not None and method.compare_with not in study.methods:
            raise ValueError(
                f"methods.{name}.compare_with ({method.compare_with!r}) is not a method of this study: "
                f"{choices(study.methods)}"
            )


def policies_are_trained(study: Study) -> None:
    """Methods run, and trainings start from, the untrained model or a trained method."""
    trained = {name for name, method in study.methods.items() if method.train}
    for name, method in study.methods.items():
        policies = {"policy": method.policy, "train.start": method.train.start if method.train else None}
        for key, policy in policies.items():
            if policy not in (None, "base") and policy not in trained:
                raise ValueError(
                    f"methods.{name}.{key} ({policy!r}) is not a trained method of this study: {choices(trained)}"
                )


def trainings_start_somewhere(study: Study) -> None:
    """No training starts, over others, from itself."""
    for name in study.methods:
        path, train = [name], study.methods[name].train
        while train and train.start != "base":
            if train.start in path:
                raise ValueError(f"methods.{name}.train.start runs in a circle: {' -> '.join([*path, train.start])}")
            path.append(train.start)
            train = study.methods[train.start].train


def reported_names_exist(study: Study) -> None:
    """The report's baseline and decoding, and the methods of its experiment, are the study's."""
    report, decodings = study.report, study.evaluation.decoding
    if report.baseline not in study.methods:
        raise ValueError(
            f"report.baseline ({report.baseline!r}) is not a method of this study: {choices(study.methods)}"
        )
    if report.decoding not in decodings:
        raise ValueError(f"report.decoding ({report.decoding!r}) is not in evaluation.decoding: {choices(decodings)}")
    for name in report.experiment.methods() if report.experiment else ():
        if name not in study.methods:
            raise ValueError(
                f"report.experiment names {name!r}, which is no method of this study: {choices(study.methods)}"
            )


def scaling_has_episodes(study: Study) -> None:
    """A report on episodes has methods of several."""
    if study.report.scaling and all(method.episodes == 1 for method in study.methods.values()):
        raise ValueError("report.scaling is about methods of several episodes, and this study has none: remove it")


REFERENCES = (
    compared_methods_exist,
    policies_are_trained,
    trainings_start_somewhere,
    reported_names_exist,
    scaling_has_episodes,
    check_twins,
)
