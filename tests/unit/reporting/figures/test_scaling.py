"""Test-time scaling: the curves, their table and their figure."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.made_up import score_again

from mrsearch.agent.record_files import read_records, write_records
from mrsearch.agent.records import StopReason
from mrsearch.config import Study
from mrsearch.evaluation.metrics import write_metrics
from mrsearch.reporting.figures import style
from mrsearch.reporting.figures.scaling import scaling_curves
from mrsearch.reporting.frame import Metrics
from mrsearch.reporting.tables import scaling

pytestmark = pytest.mark.slow


@pytest.fixture
def study(small_study: Study) -> Study:
    raw = small_study.model_dump() | {"seeds": [0]}
    raw["report"]["scaling"] = True
    raw["evaluation"]["decoding"] = {"greedy": {}}
    borrowed = {"policy": "mr_search", "episodes": 4}
    raw["methods"]["longer"] = borrowed | {"label": "Longer"}
    raw["methods"]["samples"] = borrowed | {"label": "Samples", "context": "independent", "temperature": 1.0}
    raw["methods"]["agreeing"] = borrowed | {"label": "Agreeing", "stop_after_agreeing": 2}
    return Study.model_validate(raw)


@pytest.fixture
def rows(study: Study, make_records: Callable[..., Path], tmp_path: Path) -> Metrics:
    folder = make_records(study, tmp_path / "eval", 20)
    for path in (folder / "tiny" / "agreeing").rglob("*.jsonl.zst"):
        write_records(path, [cut(record) for record in read_records(path)])
    score_again(study, folder)
    write_metrics(study, folder, tmp_path / "scores.parquet", tmp_path / "metrics.parquet")
    return Metrics(study, tmp_path / "metrics.parquet")


def cut(record):
    """Ends the meta-episode after its second episode, as if the answers had agreed."""
    record.episodes, record.stop = record.episodes[:2], StopReason.agreed
    record.tags["scores"] = {name: values[:2] for name, values in record.tags["scores"].items()}
    return record


def test_points_add_up(rows: Metrics, tmp_path: Path):
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    for method in ("longer", "samples", "agreeing"):
        found = scaling.points(rows, "tiny", "greedy", method)
        assert [point.episodes for point in found] == [1, 2, 3, 4]
        own = scores[(scores.method == method) & scores.benchmark.isin(["one", "two"])]
        for point in found:
            until = own.generated_tokens.map(lambda values, point=point: sum(values[: point.episodes]))
            assert point.generated_tokens == pytest.approx(until.mean())
        assert found[-1].em.value == pytest.approx(own.em_final.mean())
        assert found[-1].best.value == pytest.approx(own.em_best.mean())
    stopped = scaling.points(rows, "tiny", "greedy", "agreeing")
    assert stopped[1].em.value == stopped[3].em.value
    assert stopped[1].generated_tokens == stopped[3].generated_tokens > 0


def test_the_table_compares_at_equal_tokens(rows: Metrics):
    table = scaling.scaling_table(rows)
    assert table.header[1:] == [
        *(f"EM after {count}" for count in (1, 2, 3, 4)),
        *("EM at equal tokens", "Best of 4", "Episodes", "Tokens", "Searches"),
    ]
    shown = {row[0].text: [cell.text for cell in row[1:]] for row in table.blocks[0].rows}
    assert set(shown) == {"MR-Search", "Longer", "Samples", "Agreeing"}
    assert shown["MR-Search"][3] == shown["MR-Search"][5] == ""
    curves = {name: scaling.points(rows, "tiny", "greedy", name) for name in ("longer", "samples", "agreeing")}
    budget = min(curves["longer"][-1].generated_tokens, curves["samples"][-1].generated_tokens)
    for name, label in (("longer", "Longer"), ("samples", "Samples"), ("agreeing", "Agreeing")):
        paid = [point for point in curves[name] if point.generated_tokens <= budget]
        assert shown[label][4] == f"{100 * paid[-1].em.value:.1f}"
    assert shown["Agreeing"][6] == "2.0"
    assert len(list(scaling.scaling_rows(rows))) == (3 + 3 * 4) * 4


def test_the_figure_draws_an_early_end_as_one_point(rows: Metrics, tmp_path: Path):
    with style.styled():
        scaling_curves(rows, tmp_path / "figures")
        first = (tmp_path / "figures" / "scaling.svg").read_bytes()
        scaling_curves(rows, tmp_path / "figures")
    assert (tmp_path / "figures" / "scaling.svg").read_bytes() == first
    with (tmp_path / "figures" / "scaling.csv").open() as file:
        drawn = list(csv.DictReader(file))
    assert [float(row["episodes"]) for row in drawn if row["method"] == "agreeing"] == [2.0]
    assert len([row for row in drawn if row["method"] == "samples"]) == 4


def test_a_study_of_single_episodes_does_not_scale(small_study: Study):
    raw = small_study.model_dump()
    raw["methods"] = {"direct": {"procedure": "direct"}}
    raw["report"] |= {"baseline": "direct", "scaling": True}
    with pytest.raises(ValueError, match=r"report.scaling is about methods of several episodes"):
        Study.model_validate(raw)
