"""A study has something to compare, each of its parts once, and settings that are some."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mrsearch.config.study import Study


def is_not_empty(study: Study) -> None:
    """It has seeds, models, methods and benchmarks."""
    for key in ("seeds", "models", "methods", "benchmarks"):
        if not getattr(study, key):
            raise ValueError(f"{key} is empty: a study needs at least one")


def seeds_differ(study: Study) -> None:
    """No seed stands twice."""
    if len(set(study.seeds)) != len(study.seeds):
        raise ValueError(f"seeds ({list(study.seeds)}) repeats a seed")


def base_is_the_untrained_model(study: Study) -> None:
    """No method takes the name of the untrained model."""
    if "base" in study.methods:
        raise ValueError('methods.base: "base" names the untrained model; choose another name')


def benchmarks_differ(study: Study) -> None:
    """No two benchmarks read the same questions."""
    seen: dict[str, str] = {}
    for name, benchmark in study.benchmarks.items():
        source = benchmark.source or name
        if source in seen:
            raise ValueError(
                f"benchmarks.{name} reads {source!r}, which benchmarks.{seen[source]} reads already: a benchmark "
                "may appear once"
            )
        seen[source] = name


def some_benchmark_is_averaged(study: Study) -> None:
    """There is a mean to report."""
    if not any(benchmark.average for benchmark in study.benchmarks.values()):
        raise ValueError("no benchmark has average: true, so there would be no mean to report")


def settings_of_methods_fit(study: Study) -> None:
    """Settings that a method has in the place of the study's are settings."""
    for name in study.methods:
        study.of(name)


CONTENTS = (
    is_not_empty,
    seeds_differ,
    base_is_the_untrained_model,
    benchmarks_differ,
    some_benchmark_is_averaged,
    settings_of_methods_fit,
)
