"""The examples of the page on records run as they stand there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support.project import ROOT

from mrsearch.agent.ports import Hit, Passage
from mrsearch.agent.record_lines import to_line
from mrsearch.agent.records import ActionKind, Episode, MetaEpisode, Question, StopReason, Turn
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
    return next(records.rglob("mr_search/*/two.greedy.jsonl.zst")), folder / "scores.parquet"


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


def test_every_key_of_a_record_s_line_is_described() -> None:
    """The longest line that there is: each text that can be left out stands in it."""
    turn = Turn(4, 6, "text", ActionKind.search, "query", "seen", [Hit(Passage("1", "title", "text"), 1.0)], 3)
    episodes = [Episode([turn], "answer", StopReason.answered)]
    lists = ([1] * 8, [1] * 8, [1] * 8, [-0.5] * 8)
    line = json.loads(to_line(MetaEpisode(Question("q", "?", ("a",)), *lists, 4, episodes, StopReason.answered)))
    table = PAGE.partition("### The file, version 3")[2].partition("\nGaps are")[0]
    described = set(re.findall(r"`(\w+)`", table))
    assert described >= line.keys() | line["episodes"][0].keys() | line["episodes"][0]["turns"][0].keys()
