"""A study with its files: what is loaded, and what is said where something is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mrsearch.config import ConfigError, Study, write_study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.interactive.loaded_study import LoadedStudy, load_study


@pytest.fixture
def loaded(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> LoadedStudy:
    """A study of made-up records below a folder of results, which no file of configuration names."""
    write_study(small_study, tmp_path / "results" / "small" / "study.json")
    study = load_study("small", root=tmp_path)
    make_records(small_study, study.layout.evaluations, 4)
    return study


def test_scores_and_metrics_are_tables(loaded: LoadedStudy) -> None:
    layout = loaded.layout
    write_metrics(loaded.study, layout.evaluations, layout.scores, layout.metrics)
    assert len(loaded.scores()) == 4 * 4 * 3 * 2 * 2
    assert {"metric", "value", "low", "high"} <= set(loaded.metrics().columns)


def test_records_are_those_of_one_evaluation(loaded: LoadedStudy) -> None:
    records = list(loaded.records("mr_search", "two", seed=1, decoding="sampled"))
    assert [record.question.id for record in records] == ["two-0", "two-1", "two-2", "two-3"]
    assert {(record.tags["seed"], record.tags["decoding"]) for record in records} == {(1, "sampled")}
    (first, *_) = loaded.records("mr_search", "two")
    assert (first.tags["seed"], first.tags["decoding"]) == (0, "greedy"), "the study's first"


def test_a_study_as_it_ran_goes_before_its_file(small_study: Study, tmp_path: Path) -> None:
    write_study(small_study.model_copy(update={"title": "as written"}), tmp_path / "mine.json")
    assert load_study("mine.json", root=tmp_path).study.title == "as written"
    write_study(small_study.model_copy(update={"title": "as it ran"}), tmp_path / "results" / "small" / "study.json")
    assert load_study("mine.json", root=tmp_path).study.title == "as it ran"
    assert load_study(tmp_path / "mine.json", results=tmp_path / "elsewhere").study.title == "as written"


def test_what_is_not_there_is_named(loaded: LoadedStudy, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scores.parquet: the scores of study small are not there: run the study"):
        loaded.scores()
    with pytest.raises(ValueError, match="has no benchmark 'nope': it has one, two, extra"):
        loaded.records("mr_search", "nope")
    with pytest.raises(ValueError, match="has no decoding 'nope': it has greedy, sampled"):
        loaded.records("mr_search", "two", decoding="nope")
    with pytest.raises(ValueError, match="the questions of two of study small are not there"):
        loaded.questions("two")
    with pytest.raises(ValueError, match="model: the weights of study small are not there"):
        loaded.open_agent("mr_search")
    with pytest.raises(ConfigError, match="neither a file nor one of the studies"):
        load_study("nope", root=tmp_path)
