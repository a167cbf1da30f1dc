"""Scores to metrics: complete, correct and the same in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.made_up import score_again, write_made_metrics

from mrsearch.agent.record_files import read_records, write_records
from mrsearch.config import Study
from mrsearch.config.layout import all_record_files, all_score_files
from mrsearch.evaluation.comparisons import Basis, basis
from mrsearch.evaluation.significance import sign_flip_test

pytestmark = pytest.mark.slow
METRICS = ("scores.parquet", "metrics.parquet")


def tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and metrics."""
    return pd.read_parquet(folder / "scores.parquet"), pd.read_parquet(folder / "metrics.parquet")


def test_metrics_are_complete_and_agree_with_the_scores(measured: Path):
    scores, metrics = tables(measured)
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


def test_comparisons_name_their_reference(measured: Path):
    _, metrics = tables(measured)
    compared = metrics[(metrics.method == "mr_search") & (metrics.metric == "em_relative")]
    assert set(compared.reference) == {"search_r1", "search_r1_long"}
    assert "em_relative" not in set(metrics[metrics.method == "search_r1"].metric)
    row = compared[(compared.seed == "all") & (compared.benchmark == "average") & (compared.reference == "search_r1")]
    row = row[row.decoding == "greedy"].iloc[0]
    assert row.low <= row.value <= row.high
    p_values = metrics[metrics.metric.isin(["em_p", "em_p_questions"])]
    assert p_values.value.between(0, 1).all()
    assert set(p_values.seed) == {"all"}
    assert set(p_values.benchmark) == {"one", "two", "extra", "average"}


def test_a_mark_says_what_the_interval_says(measured: Path):
    """With several seeds both come from one model."""
    _, metrics = tables(measured)
    place = ["method", "decoding", "benchmark", "reference"]
    rows = metrics[(metrics.seed == "all") & (metrics.reference != "")]
    p = rows[rows.metric == "em_p"].set_index(place).value
    intervals = rows[rows.metric == "em_difference"].set_index(place)
    outside = (intervals.low > 0) | (intervals.high < 0)
    assert (outside == (p < 0.05)).all()
    assert outside.any()
    assert not outside.all()


def test_what_nothing_was_trained_for_is_tested_over_questions(
    small_study: Study, make_records: Callable[..., Path], tmp_path: Path
):
    """Seeds of an untrained policy are repeated answers, so both its interval and its test are about questions."""
    raw = small_study.model_dump()
    raw["methods"]["rag"] = {"procedure": "rag", "compare_with": "direct"}
    study = Study.model_validate(raw)
    assert basis(study, "rag", "direct") is Basis.questions
    assert basis(study, "direct", "search_r1") is Basis.methods, "the reference was trained"
    one_seed = Study.model_validate(raw | {"seeds": [0]})
    assert basis(one_seed, "direct", "search_r1") is Basis.weights
    write_made_metrics(study, make_records(study, tmp_path / "eval", 40), tmp_path)
    scores, metrics = tables(tmp_path)
    rows = metrics[(metrics.seed == "all") & (metrics.reference == "direct") & (metrics.benchmark == "one")]
    values = rows[rows.decoding == "greedy"].set_index("metric").value
    assert values["em_p"] == values["em_p_questions"]
    of = scores[(scores.benchmark == "one") & (scores.decoding == "greedy")]
    means = of.pivot_table(values="em_final", index="question_id", columns="method")
    assert values["em_p"] == sign_flip_test([(means.rag - means.direct).to_numpy()], 10_000, 0)


def test_same_records_give_the_same_bytes(small_study: Study, made: Path, measured: Path, tmp_path: Path):
    write_made_metrics(small_study, made, tmp_path)
    for name in METRICS:
        assert (tmp_path / name).read_bytes() == (measured / name).read_bytes()


def test_the_order_of_records_does_not_matter(small_study: Study, made: Path, measured: Path, tmp_path: Path):
    for path in made.rglob("*.jsonl.zst"):
        write_records(path, reversed(list(read_records(path))))
    score_again(small_study, made)
    write_made_metrics(small_study, made, tmp_path)
    assert (tmp_path / "metrics.parquet").read_bytes() == (measured / "metrics.parquet").read_bytes()


def test_records_are_not_read(small_study: Study, made: Path, measured: Path, tmp_path: Path):
    for path in all_record_files(small_study, made).values():
        path.unlink()
    write_made_metrics(small_study, made, tmp_path)
    for name in METRICS:
        assert (tmp_path / name).read_bytes() == (measured / name).read_bytes()


def test_every_column_has_one_type_whatever_the_rows_hold(small_study: Study, made_once: Path, measured: Path):
    """A method of one episode has no transition; its empty lists are lists of numbers too."""
    schemas = {str(pq.read_schema(path).remove_metadata()) for path in all_score_files(small_study, made_once).values()}
    assert len(schemas) == 1
    rows = pa.concat_tables([pq.read_table(path) for path in all_score_files(small_study, made_once).values()])
    everything = pq.read_table(measured / "scores.parquet")
    order = [(name, "ascending") for name in ("model", "method", "seed", "decoding", "benchmark", "question_id")]
    assert everything.schema.equals(rows.schema.remove_metadata())
    assert everything.sort_by(order).equals(rows.replace_schema_metadata(None).sort_by(order))


def test_one_seed_is_enough(small_study: Study, make_records: Callable[..., Path], tmp_path: Path):
    study = small_study.model_copy(update={"seeds": (0,)})
    write_made_metrics(study, make_records(study, tmp_path / "eval"), tmp_path)
    _, metrics = tables(tmp_path)
    numbers = ["value", "low", "high"]
    rows = metrics[~metrics.metric.str.contains("_p")].set_index("seed")
    alone, together = (rows.loc[seed, numbers].reset_index(drop=True) for seed in ("0", "all"))
    pd.testing.assert_frame_equal(alone, together)
