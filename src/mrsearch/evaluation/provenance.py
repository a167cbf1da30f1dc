"""Where a study's numbers come from, in one line."""

from __future__ import annotations

from pathlib import Path

from mrsearch.config import Study
from mrsearch.config.data import FolderData, HubData, WorldData
from mrsearch.config.installed import packages
from mrsearch.data import registry
from mrsearch.runlog import code_revision


def describe(study: Study) -> str:
    """The data that the study reads, what installed packages add to it, and the revision of the code, for the foot of
    every table."""
    added = [f"{name} of {package}" for name, package in packages(study.model_dump(mode="json")).items()]
    return ", ".join([_data(study), *added, f"code {code_revision()}"])


def _data(study: Study) -> str:
    data = study.data
    if isinstance(data, WorldData):
        return f"synthetic world of seed {data.seed}"
    if isinstance(data, FolderData):
        count = data.questions_per_benchmark
        questions = f"first {count} questions" if count else "all questions"
        passages = f"{data.passages} passages" if data.passages else "all passages"
        held_out = f" without {data.validation_share:.0%} held out" if data.validation_share else ""
        training = f", training questions {data.train}{held_out}" if data.train else ""
        return f"folder {Path(data.path).name}, {questions} of each {data.questions}, {passages}{training}"
    assert isinstance(data, HubData)
    corpus = registry.study_row(study, data.corpus, "corpus")
    return f"corpus {corpus.name} ({_source(corpus)}), questions {_splits(study)}"


def _splits(study: Study) -> str:
    """Every benchmark with its split, those of one repository and revision together."""
    by_source: dict[str, list[str]] = {}
    for name, benchmark in study.benchmarks.items():
        row = registry.questions_row(study, name)
        by_source.setdefault(_source(row), []).append(f"{benchmark.label or name} {row.split}")
    return "; ".join(f"{', '.join(splits)} ({source})" for source, splits in by_source.items())


def _source(row: registry.RegistryEntry) -> str:
    return f"{row.repository} at {row.revision[:12] if row.revision else registry.BRANCH + ', not pinned'}"
