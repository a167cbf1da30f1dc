"""Records to scores to metrics: complete, correct and the same in any order."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsearch.agent import scoring
from mrsearch.agent.records import Episode, MetaEpisode, Question, StopReason, read_records, write_records
from mrsearch.config import Study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.evaluation.scores import score_record, score_row, transitions

WORDS = st.lists(st.sampled_from(["the", "a", "Paris", "city", "of", "-", "light", "1,000"]), max_size=4).map(" ".join)


def make_record(*answers: str | None, golds: tuple[str, ...] = ("yes",)) -> MetaEpisode:
    episodes = [Episode([], answer, StopReason.answered) for answer in answers]
    record = MetaEpisode(
        Question("q", "?", golds), [1, 2], [0, 1], [0, 0], [0.0, 0.0], 1, episodes, StopReason.answered
    )
    record.tags["scores"] = score_record(record)
    return record


@given(WORDS, WORDS)
def test_em_implies_f1_unless_both_are_empty(prediction: str, gold: str):
    scores = score_record(make_record(prediction, golds=(gold,)))
    if scores["em"] == [1.0]:
        empty = not scoring.normalize(prediction) and not scoring.normalize(gold)
        assert scores["f1"] == ([0.0] if empty else [1.0])
        assert scores["sub_em"] == [1.0]
    assert scores["em"] <= scores["sub_em"]


def test_last_valid_last_and_best():
    row = score_row(make_record("no", "yes", None), 3)
    assert row["em"] == [0.0, 1.0, 0.0]
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (1.0, 0.0, 1.0)
    row = score_row(make_record("yes", "no", None), 3)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 1.0)
    row = score_row(make_record(None, None), 2)
    assert (row["em_last_valid"], row["em_last"], row["em_best"]) == (0.0, 0.0, 0.0)


def test_episodes_that_never_ran_score_nothing():
    row = score_row(make_record("yes"), 3)
    assert row["em"] == [1.0, 0.0, 0.0]
    assert row["corrupted"] == [1.0, 0.0]
    assert row["episodes_run"] == 1
    assert row["em_last_valid"] == 1.0


def test_too_many_episodes_are_refused():
    with pytest.raises(ValueError, match="has 3 episodes, but its method has 2"):
        score_row(make_record("a", "b", "c"), 2)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=6))
def test_transitions_add_up(em: list[float]):
    changes = transitions(em)
    for index in range(1, len(em)):
        corrected, corrupted, kept = (changes[name][index - 1] for name in ("corrected", "corrupted", "kept"))
        assert em[index] == corrected + kept
        assert em[index - 1] == corrupted + kept


@pytest.fixture
def made(small_study: Study, make_records: Callable[..., Path], tmp_path: Path) -> Path:
    return make_records(small_study, tmp_path / "eval")


def run(study: Study, folder: Path, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    write_metrics(study, folder, out / "scores.parquet", out / "metrics.parquet")
    return pd.read_parquet(out / "scores.parquet"), pd.read_parquet(out / "metrics.parquet")


def test_metrics_are_complete_and_agree_with_the_scores(small_study: Study, made: Path, tmp_path: Path):
    scores, metrics = run(small_study, made, tmp_path)
    assert len(scores) == 4 * 3 * 2 * 2 * 12
    assert set(metrics.seed) == {"0", "1", "all"}
    assert set(metrics.benchmark) == {"one", "two", "extra", "average"}
    place = (metrics.method == "mr_search") & (metrics.decoding == "greedy") & (metrics.seed == "all")
    em = metrics[place & (metrics.metric == "em") & (metrics.reference == "")].set_index(["benchmark", "episode"]).value
    of_method = scores[(scores.method == "mr_search") & (scores.decoding == "greedy")]
    for benchmark, group in of_method.groupby("benchmark"):
        assert em[benchmark, "last_valid"] == pytest.approx(group.em_last_valid.mean())
        assert em[benchmark, "2"] == pytest.approx(group.em.str[1].mean())
    assert em["average", "best"] == pytest.approx((em["one", "best"] + em["two", "best"]) / 2)


def test_comparisons_name_their_reference(small_study: Study, made: Path, tmp_path: Path):
    _, metrics = run(small_study, made, tmp_path)
    compared = metrics[(metrics.method == "mr_search") & (metrics.metric == "em_relative")]
    assert set(compared.reference) == {"search_r1", "search_r1_long"}
    assert "em_relative" not in set(metrics[metrics.method == "search_r1"].metric)
    row = compared[(compared.seed == "all") & (compared.benchmark == "average") & (compared.reference == "search_r1")]
    row = row[row.decoding == "greedy"].iloc[0]
    assert row.low <= row.value <= row.high
    p_values = metrics[metrics.metric.isin(["em_p", "em_p_holm"])]
    assert p_values.value.between(0, 1).all()
    assert set(p_values.seed) == {"all"}


def test_same_records_give_the_same_bytes(small_study: Study, made: Path, tmp_path: Path):
    run(small_study, made, tmp_path / "a")
    run(small_study, made, tmp_path / "b")
    for name in ("scores.parquet", "metrics.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_order_of_records_does_not_matter(small_study: Study, made: Path, tmp_path: Path):
    run(small_study, made, tmp_path / "a")
    for path in made.rglob("*.jsonl.gz"):
        write_records(path, reversed(list(read_records(path))))
    run(small_study, made, tmp_path / "b")
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


def first_file(made: Path) -> Path:
    return made / "tiny" / "mr_search" / "seed1" / "two.greedy.jsonl.gz"


def test_a_missing_file_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    first_file(made).unlink()
    with pytest.raises(ValueError, match=r"1 of 48 record files are missing.*mr_search/seed1/two.greedy"):
        run(small_study, made, tmp_path)
    assert not (tmp_path / "metrics.parquet").exists()


def test_a_missing_question_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    write_records(first_file(made), list(read_records(first_file(made)))[1:])
    with pytest.raises(ValueError, match="mr_search, seed 1 has 11 questions, direct, seed 0 has 12"):
        run(small_study, made, tmp_path)


def test_a_misplaced_record_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    records = list(read_records(first_file(made)))
    records[3].tags["seed"] = 0
    write_records(first_file(made), records)
    with pytest.raises(ValueError, match="a record is tagged"):
        run(small_study, made, tmp_path)


def test_records_without_scores_are_an_error(small_study: Study, made: Path, tmp_path: Path):
    records = list(read_records(first_file(made)))
    del records[0].tags["scores"]
    write_records(first_file(made), records)
    with pytest.raises(ValueError, match="carries no complete scores"):
        run(small_study, made, tmp_path)


def test_an_empty_file_is_an_error(small_study: Study, made: Path, tmp_path: Path):
    first_file(made).write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="holds no record"):
        run(small_study, made, tmp_path)


def test_one_seed_is_enough(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    study = small_study.model_copy(update={"seeds": (0,)})
    _, metrics = run(study, make_records(study, tmp_path / "eval"), tmp_path)
    numbers = ["value", "low", "high"]
    rows = metrics[~metrics.metric.str.contains("_p")].set_index("seed")
    alone, together = (rows.loc[seed, numbers].reset_index(drop=True) for seed in ("0", "all"))
    pd.testing.assert_frame_equal(alone, together)
