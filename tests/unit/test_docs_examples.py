"""The examples of the page on records run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.project import ROOT

from mrsearch.config import Study
from mrsearch.evaluation.metrics import write_metrics

PAGE = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def evaluated(
    small_study: Study, make_records: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A file of records, and the study's scores.parquet."""
    folder = tmp_path_factory.mktemp("evaluated")
    records = make_records(small_study, folder / "eval", 6)
    write_metrics(small_study, records, folder / "scores.parquet", folder / "metrics.parquet")
    return next(records.rglob("mr_search/*/two.greedy.jsonl.gz")), folder / "scores.parquet"


def test_records_are_read_as_the_page_says(evaluated: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    exec(EXAMPLES[0], {"path": evaluated[0]})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 18
    assert lines[0].split()[1] == "1"


def test_scores_are_read_as_the_page_says(evaluated: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"path": evaluated[1]}
    for example in EXAMPLES[1:]:
        exec(example, names)
    scores = pd.read_parquet(evaluated[1])
    greedy = scores[(scores.method == "mr_search") & (scores.decoding == "greedy") & (scores.benchmark == "two")]
    table = names["table"]
    assert isinstance(table, pd.DataFrame)
    assert table.loc[("mr_search", "greedy"), "two"] == pytest.approx(100 * greedy.em_final.mean())
    assert "count" in capsys.readouterr().out


def test_every_column_of_the_scores_is_described(evaluated: tuple[Path, Path]) -> None:
    described = set(re.findall(r"`([^`\s]+)`", PAGE.partition("## `scores.parquet`")[2].partition("```python")[0]))
    for column in pd.read_parquet(evaluated[1]).columns:
        general = re.sub(r"^hit@\d+$", "hit@k", column)
        general = re.sub(r"^em_(\w+)_after$", "em_<choice>_after", general)
        general = re.sub(r"^(em|f1|sub_em)_(\w+)$", r"<score>_\2", general)
        assert general in described, column
